"""Read and write notebook files: one layout on disk, replaced in one step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deskbook.atomic_file import write_atomically
from deskbook.authoring.quick_start import skip_slow_import


class NotebookFileError(ValueError):
    """The file cannot be read as a notebook of format 4."""


def read_notebook(path: Path) -> dict[str, Any]:
    """Read a notebook as plain data, without the cost of a schema check.

    Raises:
        NotebookFileError: If the file is missing, is not JSON or has no cells.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotebookFileError(
            f"There is no notebook {path}. Check the name, or start it with `edit`."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotebookFileError(f"{path} is not a notebook: {error}. A merge conflict left in it?") from None
    if not isinstance(content, dict) or content.get("nbformat") != 4 or "cells" not in content:
        raise NotebookFileError(f"{path} is not a notebook of format 4. Open and save it once in JupyterLab.")
    for cell in content["cells"]:
        _join_lines(cell)
    return content


def _join_lines(cell: dict[str, Any]) -> None:
    """Make every multi-line text one string; the format also allows a list of lines."""
    cell["source"] = _joined(cell["source"])
    for output in cell.get("outputs", []):
        if "text" in output:
            output["text"] = _joined(output["text"])
        for mime, value in output.get("data", {}).items():
            output["data"][mime] = _joined(value)


def _joined(value: Any) -> Any:
    is_lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return "".join(value) if is_lines else value


def write_notebook(path: Path, notebook: Any) -> None:
    """Write the notebook so that a reader sees the old file or the new one, never half of it."""
    skip_slow_import()
    import nbformat  # costs 0.3 s, which the linter does not have

    text = nbformat.writes(nbformat.from_dict(notebook), version=4)  # type: ignore[no-untyped-call]
    write_atomically(path, f"{text}\n")


def fingerprint(notebook: dict[str, Any], metadata: Sequence[str] = ()) -> str:
    """Return a short digest of what a person writes in a notebook: outputs and counts do not count.

    Args:
        notebook: Data of the notebook; a source may be one string or a list of lines.
        metadata: Keys of a cell's metadata that are written by a person, too.
    """
    return digest([written(cell, metadata) for cell in notebook["cells"]])


def written(cell: dict[str, Any], metadata: Sequence[str] = ()) -> list[Any]:
    """Return what a person writes in a cell: its kind, its text, and the metadata of these keys."""
    kept = {key: cell["metadata"][key] for key in metadata if cell["metadata"].get(key)}
    return [cell["cell_type"], _joined(cell["source"]), kept]


def digest(data: Any) -> str:
    """Return 16 hexadecimal digits that differ where the data differ."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
