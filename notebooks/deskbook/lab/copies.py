"""Copy the lessons and the pages of exercises to `my-work/`, so that learning never dirties the checkout.

An unchanged copy follows updates. A changed one is kept, and the new version is laid beside it as
`NAME.updated.ipynb`. "Changed" means the text of a cell: running a lesson alters only its outputs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from deskbook.atomic_file import write_atomically
from deskbook.authoring.notebook_file import fingerprint

#: In `my-work/`: for each copy the state of the lesson that it was made from.
RECORD = ".deskbook.json"


@dataclasses.dataclass
class CopiedLessons:
    """What a call of `copy_lessons` did, by path relative to `my-work/`."""

    new: list[str] = dataclasses.field(default_factory=list)
    updated: list[str] = dataclasses.field(default_factory=list)
    offered: list[str] = dataclasses.field(default_factory=list)


def copy_lessons(checkout: Path, work: Path) -> CopiedLessons:
    """Bring `my-work/` up to date with the lessons and exercises of the checkout.

    Of an exercise only its page is copied: checks and solution are read where they are.

    Args:
        checkout: Top folder of the repository.
        work: The learner's folder; made if missing.

    Returns:
        The lessons that were copied, updated, or laid beside a changed copy.
    """
    copied = CopiedLessons()
    with _record(work) as record:
        pages = (checkout / "exercises").glob("*/exercise.ipynb")
        for lesson in [*sorted((checkout / "notebooks").glob("*.ipynb")), *sorted(pages)]:
            name = lesson.relative_to(checkout).as_posix()
            _bring(lesson, work / name, name, record, copied)
    return copied


def _bring(lesson: Path, copy: Path, name: str, record: dict[str, str], copied: CopiedLessons) -> None:
    offer = copy.with_suffix(".updated.ipynb")
    current = state_of(lesson)
    if not copy.exists():
        copied.new.append(name)
    elif record.get(name) == current:
        return
    elif state_of(copy) in (record.get(name), current):
        copied.updated.append(name)
    else:
        write_atomically(offer, lesson.read_bytes())
        copied.offered.append(f"{name.removesuffix('.ipynb')}.updated.ipynb")
        record[name] = current
        return
    write_atomically(copy, lesson.read_bytes())
    record[name] = current


def trust(notebooks: Iterable[Path]) -> None:
    """Sign copies, so that JupyterLab shows the pictures in their stored outputs before they are run.

    Unsigned, an HTML output loses its SVG and shows the letters that were in it.
    """
    paths = list(notebooks)
    if not paths:
        return  # importing nbformat costs 0.3 s
    import nbformat
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary()  # type: ignore[no-untyped-call]
    try:
        for path in paths:
            notary.sign(nbformat.read(path, as_version=4))  # type: ignore[no-untyped-call]
    finally:
        notary.store.close()


def state_of(notebook: Path) -> str:
    """Return a digest of what a person writes in a notebook: its cells' types and texts.

    A file that is not a notebook (half written, merged by hand) counts by its bytes.
    """
    content = notebook.read_bytes()
    try:
        return fingerprint(json.loads(content))
    except (ValueError, KeyError, TypeError):
        return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _record(work: Path) -> Iterator[dict[str, str]]:
    """Read the record, and write it back when the copies are made."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / RECORD
    with (work / ".deskbook.lock").open("w") as handle:
        # Two labs started at once would otherwise each see the other's copies as changed by the learner.
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            record: dict[str, str] = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            record = {}
        yield record
        write_atomically(path, json.dumps(record, indent=2, sort_keys=True))
