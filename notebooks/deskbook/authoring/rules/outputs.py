"""What a stored output must hold to be compared, read aloud and shown offline."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

from deskbook.authoring.document import Document
from deskbook.authoring.rules.registry import Problem, rule

#: Largest stored output of a cell, in bytes; a repository of notebooks stays quick to clone and review.
LARGEST_OUTPUT_BYTES = 400_000

#: Types that nbval does not compare.
NOT_COMPARED = {"image/png", "image/jpeg", "application/vnd.jupyter.widget-view+json"}

_PICTURES = {"image/png", "image/jpeg", "image/svg+xml"}
_MACHINE_PATH = re.compile(
    r"(?<![\w.~/-])/(?:home|root|tmp|Users|work|var|private|opt|mnt|srv|usr)/[\w.@-]+|\b[A-Z]:\\+\w+"
)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_EXTERNAL = re.compile(
    r"<(?:script|img|link|iframe|source|video)\b[^>]*(?:src|href)\s*=\s*[\"']?(?:https?:)?//([^\"'/> ]+)",
    re.I,
)


@rule(
    "picture-sentence",
    reason="nbval does not compare pictures and screen readers cannot see them; the sentence does both.",
    fix="Show the picture with `deskbook.pictures.Picture(figure, alt)`.",
)
def picture_sentence(document: Document) -> Iterator[Problem]:
    """Report pictures whose plain text is no sentence."""
    for cell in document.code_cells:
        for output in cell.outputs:
            data = output.get("data", {})
            if _PICTURES & set(data) and not _is_sentence(data.get("text/plain", "")):
                yield cell, f"the picture says {data.get('text/plain', '')[:40]!r} in words"


def _is_sentence(text: str) -> bool:
    text = text.strip()
    return len(text) >= 20 and " " in text and text.endswith(".") and not text.startswith("<")


@rule(
    "nothing-to-compare",
    reason="nbval skips these types, so the output could be anything.",
    fix="Give the output a plain text that says what it shows.",
)
def nothing_to_compare(document: Document) -> Iterator[Problem]:
    """Report rich outputs of which nbval compares nothing."""
    for cell in document.code_cells:
        for output in cell.outputs:
            data = set(output.get("data", {}))
            if data and data <= NOT_COMPARED:
                yield cell, f"nbval compares none of {', '.join(sorted(data))}"


@rule(
    "machine-path",
    reason="A path or name of the machine that ran the notebook differs on every other one.",
    fix="Print the name of the file or a path relative to the notebook; then run the notebook again.",
)
def machine_path(document: Document) -> Iterator[Problem]:
    """Report absolute paths and the name of this machine in outputs."""
    host = _telling_hostname()
    for cell in document.code_cells:
        for where, text in cell.texts():
            if match := _MACHINE_PATH.search(text):
                yield cell, f"{where} holds the path {match.group()!r}"
                break
            if host and re.search(rf"\b{re.escape(host)}\b", text):
                yield cell, f"{where} holds the name of this machine"
                break


def _telling_hostname() -> str | None:
    """Return the name of this machine unless it could be an ordinary word."""
    name = socket.gethostname()
    return name if len(name) >= 6 and re.search(r"[\d-]", name) else None


@rule(
    "memory-address",
    reason="The address of an object differs in every run.",
    fix="Print what the reader shall see instead of the object.",
)
def memory_address(document: Document) -> Iterator[Problem]:
    """Report addresses in outputs."""
    for cell in document.code_cells:
        for where, text in cell.texts():
            if match := _ADDRESS.search(text):
                yield cell, f"{where} holds the address {match.group()}"
                break


@rule(
    "large-output",
    reason="Large outputs make the repository slow to clone and a change impossible to review.",
    fix="Show fewer rows, or a smaller picture.",
)
def large_output(document: Document) -> Iterator[Problem]:
    """Report cells that store too much."""
    for cell in document.code_cells:
        size_bytes = sum(_size_bytes(output) for output in cell.outputs)
        if size_bytes > LARGEST_OUTPUT_BYTES:
            yield (
                cell,
                f"the outputs take {size_bytes // 1000} kB, {LARGEST_OUTPUT_BYTES // 1000} are allowed",
            )


def _size_bytes(output: dict[str, object]) -> int:
    data = output.get("data")
    values = data.values() if isinstance(data, dict) else (output.get("text", ""),)
    return sum(len(str(value)) for value in values)


@rule(
    "external-request",
    reason="A lesson works offline; an output that loads something from the internet does not.",
    fix="Show a PNG, or bring the script inside the output.",
)
def external_request(document: Document) -> Iterator[Problem]:
    """Report outputs that load something from another host."""
    for cell in document.code_cells:
        for where, text in cell.texts():
            match = _EXTERNAL.search(text) if where in {"text/html", "image/svg+xml"} else None
            if match:
                yield cell, f"the output loads something from {match.group(1)}"
