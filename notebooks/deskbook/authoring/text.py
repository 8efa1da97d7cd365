"""A notebook as MyST text, and back again without losing ids, outputs or attachments.

The text holds everything an author writes: cells, their tags and notes, and the metadata of the lesson. Its
header remembers from which state of the notebook it was made, so that `sync` can tell when both have changed.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from typing import Any

from deskbook.authoring.normalise import CELL_METADATA, NOTEBOOK_METADATA
from deskbook.authoring.notebook_file import digest, fingerprint, written
from deskbook.authoring.quick_start import skip_slow_import

FORMAT = "md:myst"

#: Key of the header that links a text to the notebook it was made from.
HEADER = "deskbook_edit"

_TEXT_HASH_LINE = re.compile(r"^  text: .*\n", re.MULTILINE)
_NOTEBOOK_HASH_LINE = re.compile(r"^  notebook: .*\n", re.MULTILINE)


class TextError(ValueError):
    """A notebook cannot be written as text without loss, or a text is not one of ours."""


def state_of(notebook: dict[str, Any] | None) -> str:
    """Return a digest of what an author writes in a notebook, its metadata included."""
    if notebook is None:
        return "new"
    own = {key: notebook.get("metadata", {}).get(key) for key in NOTEBOOK_METADATA}
    return digest([fingerprint(notebook, CELL_METADATA), own])


def to_text(notebook: dict[str, Any], base: str) -> str:
    """Write a notebook as MyST text.

    Args:
        notebook: Data of the notebook, with every source as one string.
        base: State of the notebook that the text belongs to.

    Raises:
        TextError: If a cell would come back changed.
    """
    skip_slow_import()
    import jupytext
    import nbformat

    node: Any = nbformat.from_dict(copy.deepcopy(notebook))  # type: ignore[no-untyped-call]
    node.metadata = {key: node.metadata[key] for key in NOTEBOOK_METADATA if key in node.metadata}
    node.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    node.metadata[HEADER] = {"notebook": base, "text": ""}
    node.metadata["jupytext"] = {
        "notebook_metadata_filter": ",".join([*NOTEBOOK_METADATA, HEADER, "kernelspec"]),
        "cell_metadata_filter": ",".join(CELL_METADATA),
    }
    text: str = jupytext.writes(nbformat.from_dict(node), fmt=FORMAT)  # type: ignore[no-untyped-call]
    _refuse_loss(notebook, jupytext.reads(text, fmt=FORMAT))
    return _TEXT_HASH_LINE.sub(f"  text: {_text_hash(text)}\n", text, count=1)


def _refuse_loss(notebook: dict[str, Any], returned: Any) -> None:
    """Refuse to write a text from which the notebook could not be made again."""
    if len(returned.cells) != len(notebook["cells"]):
        raise TextError(
            f"As text the {len(notebook['cells'])} cells would come back as {len(returned.cells)}. "
            "A markdown cell that holds a line `+++`, or two that stand together? Change it in JupyterLab."
        )
    for number, (before, after) in enumerate(zip(notebook["cells"], returned.cells, strict=True), start=1):
        if written(before, CELL_METADATA) != written(after, CELL_METADATA):
            raise TextError(
                f"As text cell {number} would come back changed (spaces at its end? a fence of backquotes?). "
                "Change that cell in JupyterLab, then `deskbook notebook run`."
            )


def from_text(text: str, notebook: dict[str, Any] | None) -> dict[str, Any]:
    """Read a text and give it the ids, outputs and attachments of the notebook.

    Raises:
        TextError: If the text was not made by `deskbook notebook edit`, or is no MyST text.
    """
    skip_slow_import()
    import jupytext
    import nbformat
    from jupytext.combine import combine_inputs_with_outputs

    try:
        node = jupytext.reads(text, fmt=FORMAT)
    except Exception as error:  # jupytext passes on whatever its YAML and markdown readers raise
        raise TextError(f"The text cannot be read: {error}. Check the header and the fences.") from None
    if HEADER not in node.metadata:
        raise TextError(f"The text has no header `{HEADER}`. Start it with `deskbook notebook edit`.")
    if notebook is not None:
        old: Any = nbformat.from_dict(copy.deepcopy(notebook))  # type: ignore[no-untyped-call]
        node = combine_inputs_with_outputs(node, old, fmt=FORMAT)
    for key in (HEADER, "jupytext"):
        node.metadata.pop(key, None)
    plain: dict[str, Any] = json.loads(json.dumps(node))
    return plain


def base_of(text: str) -> str:
    """Return the state of the notebook from which a text was made."""
    match = _NOTEBOOK_HASH_LINE.search(text)
    return match.group().split(":")[1].strip().strip("'\"") if match else "unknown"


def with_base(text: str, base: str) -> str:
    """Return the text as one that was made from another state of the notebook."""
    return _NOTEBOOK_HASH_LINE.sub(f"  notebook: {base}\n", text, count=1)


def is_untouched(text: str) -> bool:
    """Say whether nobody has changed the text since it was written."""
    match = _TEXT_HASH_LINE.search(text)
    return match is not None and match.group().split(":")[1].strip().strip("'\"") == _text_hash(text)


def _text_hash(text: str) -> str:
    stripped = _NOTEBOOK_HASH_LINE.sub("", _TEXT_HASH_LINE.sub("", text, count=1), count=1)
    return "t" + hashlib.sha256(stripped.encode()).hexdigest()[:15]
