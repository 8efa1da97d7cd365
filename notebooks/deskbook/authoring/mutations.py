"""Corrupt the stored outputs of a cell, one small change at a time.

Each mutant is what the outputs of a cell would be if something in them were wrong; a comparison must notice.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Most mutants of one kind that one piece of text yields; they are spread over the text.
MOST_PER_TEXT = 25

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WORD = re.compile(r"[A-Za-z]{2,}")
_PICTURES = ("image/png", "image/jpeg", "image/svg+xml")

Outputs = list[dict[str, Any]]


@dataclass(frozen=True)
class Mutant:
    """One changed version of the outputs of a cell.

    Attributes:
        kind: What was changed: "text", "number", "HTML", "error type", "missing output", ...
        change: The change in words.
        outputs: The outputs with the change.
    """

    kind: str
    change: str
    outputs: Outputs


def mutants_of(outputs: Outputs) -> Iterator[Mutant]:
    """Yield every mutant of the outputs of one cell; a cell without outputs yields an extra output."""
    yield Mutant(
        "extra output", "a printed line is added", [*copy.deepcopy(outputs), _stream("stray line\n")]
    )
    for index, output in enumerate(outputs):
        kind = output["output_type"]
        yield Mutant("missing output", f"output {index + 1} is removed", _without(outputs, index))
        yield Mutant("extra output", f"output {index + 1} appears twice", _doubled(outputs, index))
        if kind == "stream":
            yield from _stream_mutants(outputs, index)
        elif kind == "error":
            yield from _error_mutants(outputs, index)
        else:
            yield from _data_mutants(outputs, index)


def _stream_mutants(outputs: Outputs, index: int) -> Iterator[Mutant]:
    other = "stderr" if outputs[index]["name"] == "stdout" else "stdout"
    yield Mutant("stream", f"printed to {other} instead", _changed(outputs, index, "name", other))
    for kind, change, text in text_mutants(outputs[index]["text"]):
        yield Mutant(kind, change, _changed(outputs, index, "text", text))


def _error_mutants(outputs: Outputs, index: int) -> Iterator[Mutant]:
    name = outputs[index]["ename"]
    yield Mutant(
        "error type", f"{name} becomes LookupError", _changed(outputs, index, "ename", "LookupError")
    )
    for kind, change, text in text_mutants(outputs[index]["evalue"]):
        yield Mutant(f"error {kind}", change, _changed(outputs, index, "evalue", text))


def _data_mutants(outputs: Outputs, index: int) -> Iterator[Mutant]:
    data = outputs[index]["data"]
    has_picture = any(mime in data for mime in _PICTURES)
    for mime, value in data.items():
        if not isinstance(value, str) or mime in ("image/png", "image/jpeg"):
            continue  # a picture is compared through its sentence
        name = "picture sentence" if has_picture and mime == "text/plain" else _NAMES.get(mime, "")
        for kind, change, text in text_mutants(value):
            mutated = copy.deepcopy(outputs)
            mutated[index]["data"][mime] = text
            yield Mutant(name or kind, change, mutated)
        if len(data) > 1:
            mutated = copy.deepcopy(outputs)
            del mutated[index]["data"][mime]
            yield Mutant("missing form", f"{mime} of output {index + 1} is removed", mutated)


_NAMES = {"text/html": "HTML", "image/svg+xml": "SVG", "application/json": "JSON"}


def text_mutants(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, change in words, changed text) for one text."""
    for match in _spread(list(_NUMBER.finditer(text))):
        number = match.group()
        other = number[:-1] + str((int(number[-1]) + 1) % 10)
        yield "number", f"{number} becomes {other}", text[: match.start()] + other + text[match.end() :]
    for match in _spread(list(_WORD.finditer(text))):
        word = match.group()
        other = word[0] + word[1].swapcase() + word[2:]
        yield "text", f"{word!r} becomes {other!r}", text[: match.start()] + other + text[match.end() :]
    lines = text.splitlines(keepends=True)
    if len(lines) > 1:
        for number in _spread(list(range(len(lines)))):
            kept = "".join(lines[:number] + lines[number + 1 :])
            if kept != text:
                yield "missing line", f"line {number + 1} is removed", kept
    yield "extra line", "a line is added", f"{text.rstrip()}\nstray line"


def _spread(items: list[Any]) -> list[Any]:
    """Return at most MOST_PER_TEXT items, evenly spread."""
    step = max(1, -(-len(items) // MOST_PER_TEXT))
    return items[::step]


def _stream(text: str) -> dict[str, Any]:
    import nbformat

    stream: dict[str, Any] = nbformat.v4.new_output("stream", name="stdout", text=text)  # type: ignore[no-untyped-call]
    return stream


def _without(outputs: Outputs, index: int) -> Outputs:
    return copy.deepcopy(outputs[:index] + outputs[index + 1 :])


def _doubled(outputs: Outputs, index: int) -> Outputs:
    return copy.deepcopy(outputs[: index + 1]) + copy.deepcopy(outputs[index:])


def _changed(outputs: Outputs, index: int, key: str, value: str) -> Outputs:
    mutated = copy.deepcopy(outputs)
    mutated[index][key] = value
    return mutated
