"""Questions about one line of user code: does it take a lock, can others notice it, must it be split?"""

from __future__ import annotations

import dis
import functools
import re
import types
from typing import Any

from deskbook.races import _frames as frames

_WITH = re.compile(r"with\s+(?P<items>[\w.,\s]+?)(?:\s+as\s+\w+)?\s*:")
_ACQUIRE = re.compile(r"(?P<items>[A-Za-z_][\w.]*)\.acquire\(\s*\)")


@functools.lru_cache(maxsize=4096)
def locks_taken(code: types.CodeType, line: int) -> tuple[str, ...]:
    """Return the expressions of the locks that a line takes, as far as its text tells."""
    text = frames.source_line(code, line).partition(": ")[2]
    found: list[str] = []
    for pattern in (_WITH, _ACQUIRE):
        match = pattern.search(text)
        if match:
            found.extend(item.strip() for item in match["items"].split(","))
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def first_instruction(code: types.CodeType, line: int) -> int:
    """Return the offset of the first instruction of a line."""
    return min((start for start, _, at in code.co_lines() if at == line), default=-1)


def evaluate(expression: str, frame: types.FrameType) -> Any:
    """Look a dotted name up without calling anything of the user's but attribute access."""
    first, *rest = expression.split(".")
    missing = object()
    value = frame.f_locals.get(first, frame.f_globals.get(first, missing))
    for name in rest:
        if value is missing:
            return None
        value = getattr(value, name, missing)
    return None if value is missing else value


#: Instructions that touch nothing but the function's own variables.
_LOCAL_INSTRUCTIONS = re.compile(
    r"RESUME|NOP|CACHE|POP_TOP|LOAD_CONST|LOAD_FAST\w*|STORE_FAST\w*|RETURN_VALUE|RETURN_CONST|JUMP_\w+|"
    r"BUILD_(TUPLE|LIST|MAP|SET)|COPY|SWAP|LOAD_SMALL_INT|LOAD_COMMON_CONSTANT|NOT_TAKEN"
)


@functools.lru_cache(maxsize=4096)
def is_local(code: types.CodeType, line: int) -> bool:
    """Tell whether others cannot notice a line nor it them, such as `return {}`: no choice before it."""
    names = [i.opname for i in dis.get_instructions(code) if i.positions and i.positions.lineno == line]
    return all(_LOCAL_INSTRUCTIONS.fullmatch(name) for name in names)


_STORES = {"STORE_ATTR": "LOAD_ATTR", "STORE_GLOBAL": "LOAD_GLOBAL", "STORE_DEREF": "LOAD_DEREF"}
_ITEM_STORES = ("STORE_SUBSCR", "STORE_SLICE")


def _loads_an_item(instruction: dis.Instruction) -> bool:
    """Tell whether an instruction loads `x[i]`: Python 3.14 made it a kind of BINARY_OP, as `+` is one."""
    name = instruction.opname
    return name in ("BINARY_SUBSCR", "BINARY_SLICE") or (name == "BINARY_OP" and instruction.argrepr == "[]")


@functools.lru_cache(maxsize=4096)
def split_stores(code: types.CodeType) -> frozenset[int]:
    """Return the offsets of stores whose line loads the same name first, as `n += 1` does."""
    offsets = set()
    loaded: set[tuple[str, Any]] = set()
    line = None
    for instruction in dis.get_instructions(code):
        at = instruction.positions.lineno if instruction.positions else None
        if at is not None and at != line:
            line, loaded = at, set()
        name = instruction.opname
        if (name in _STORES and (_STORES[name], instruction.argval) in loaded) or (
            name in _ITEM_STORES and (("BINARY_SUBSCR", None) in loaded or ("LOAD_ATTR", "get") in loaded)
        ):
            offsets.add(instruction.offset)
        elif _loads_an_item(instruction):
            loaded.add(("BINARY_SUBSCR", None))
        elif name.startswith(("LOAD_ATTR", "LOAD_GLOBAL", "LOAD_DEREF", "LOAD_METHOD")):
            kind = "LOAD_ATTR" if name.startswith("LOAD_METHOD") else name
            loaded.add((kind, instruction.argval))
    return frozenset(offsets)
