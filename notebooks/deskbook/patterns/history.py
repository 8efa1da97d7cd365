"""What was mended in the patterns, and by which statements a copy from before is known.

`reference_app/patterns/history.toml` stands beside the patterns and not in them: a pattern travels, and its
reader wants to know how it works today. Each entry has the day, sentences for the owner of a copy, and short
hashes of the statements that the repair took out and brought in. Statements are compared as Python reads
them, so neither comments nor the layout of the lines count.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import datetime as dt
import hashlib
import subprocess
import tomllib
import warnings
from pathlib import Path

from deskbook.checkout import root
from deskbook.patterns.catalogue import Pattern, PatternError, get

NAME = "history.toml"
#: Shorter statements (`pass`, `return x`) stand in every file and say nothing of where they come from.
_MIN_LENGTH = 12

_HEAD = """\
# What was mended in the patterns, for `deskbook pattern check`. Written by `deskbook pattern mended`.
# gone, new: hashes of the statements that the repair took out and brought in.
"""


@dataclasses.dataclass(frozen=True)
class Repair:
    """One repair of a pattern.

    Attributes:
        pattern: The name of the pattern.
        date: The day of the repair.
        mended: What a copy from before does wrong, in sentences.
        gone: Hashes of the statements that were taken out.
        new: Hashes of the statements that were brought in.
    """

    pattern: str
    date: dt.date
    mended: tuple[str, ...]
    gone: frozenset[str]
    new: frozenset[str]

    def is_missing_in(self, statements: frozenset[str]) -> bool:
        """Tell whether a copy lacks most of what was brought in, or has more of what was taken out."""
        mended = _share(self.new, statements)
        return mended < 0.5 or (bool(self.gone) and _share(self.gone, statements) > mended)


def statements_of(source: str | bytes) -> frozenset[str]:
    """Return the hashes of the statements of a file; of a block its first line only.

    Raises:
        SyntaxError: It is no Python.
        ValueError: It holds a NUL, or nests too deeply.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as one about an escape in somebody's file
        tree = ast.parse(source)
    return frozenset(
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and (text := _text(node)) and len(text) >= _MIN_LENGTH
    )


def _text(node: ast.stmt) -> str:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return ""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return ""  # a docstring
    alone = copy.copy(node)
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        if hasattr(alone, block):
            setattr(alone, block, [ast.Pass()] if block == "body" else [])
    return ast.unparse(alone)


def history(folder: Path) -> list[Repair]:
    """Return all repairs, the first ones first.

    Args:
        folder: Where the patterns are.
    """
    path = folder / NAME
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("repair", []) if path.exists() else []
    return [
        Repair(
            it["pattern"],
            it["date"],
            tuple(it["mended"]),
            frozenset(it["gone"].split()),
            frozenset(it["new"].split()),
        )
        for it in entries
    ]


def in_force(repairs: list[Repair]) -> list[Repair]:
    """Return the repairs of one pattern without what later ones changed again."""
    left: list[Repair] = []
    for number, repair in enumerate(repairs):
        later = repairs[number + 1 :]
        new = repair.new.difference(*(it.gone for it in later))
        gone = repair.gone.difference(*(it.new for it in later))
        if new or gone:  # else a later one tells all
            left.append(dataclasses.replace(repair, new=new, gone=gone))
    return left


def record(name: str, since: str, mended: tuple[str, ...], today: dt.date) -> Repair:
    """Add a repair of a pattern to the history of this checkout.

    Args:
        name: The pattern, as it is now.
        since: The revision of git from before the repair.
        mended: What a copy from before does wrong, in sentences.
        today: The day of the repair.

    Raises:
        PatternError: There is no such pattern or revision, or its code is the same as then.
    """
    pattern = get(name)
    before, now = statements_of(_at(since, pattern)), statements_of(pattern.source)
    if before == now:
        raise PatternError(f"The code of {name} is what it was at {since}, so there is nothing to record.")
    repair = Repair(name, today, mended, before - now, now - before)
    _write(pattern.path.parent, [*history(pattern.path.parent), repair])
    return repair


def _at(revision: str, pattern: Pattern) -> bytes:
    relative = pattern.path.relative_to(root()).as_posix()
    shown = subprocess.run(
        ["git", "show", f"{revision}:{relative}"], cwd=root(), capture_output=True, check=False
    )
    if shown.returncode:
        raise PatternError(f"git knows no {relative} at {revision}: {shown.stderr.decode().strip()}")
    return shown.stdout


def _write(folder: Path, repairs: list[Repair]) -> None:
    parts = [_HEAD]
    for repair in repairs:
        sentences = "".join(f"    {_quoted(it)},\n" for it in repair.mended)
        parts += [
            "\n[[repair]]\n",
            f"pattern = {_quoted(repair.pattern)}\n",
            f"date = {repair.date}\n",
            f"mended = [\n{sentences}]\n",
            f"gone = {_quoted(' '.join(sorted(repair.gone)))}\n",
            f"new = {_quoted(' '.join(sorted(repair.new)))}\n",
        ]
    (folder / NAME).write_text("".join(parts), encoding="utf-8")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _share(part: frozenset[str], whole: frozenset[str]) -> float:
    return len(part & whole) / len(part) if part else 1.0
