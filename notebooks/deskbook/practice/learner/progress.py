"""What a learner has done: `my-work/.progress.json`.

The file is replaced in one step and guarded by a lock, so a notebook and a terminal may write at once. A
damaged file is laid aside; it costs its contents and a warning, never an exercise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deskbook.atomic_file import write_atomically
from deskbook.checkout import work_folder

FILE = ".progress.json"
LOCK = ".progress.lock"


@dataclasses.dataclass
class ExerciseRecord:
    """What the learner has done at one exercise.

    Attributes:
        state: State of the last attempt.
        passed: Whether it was ever passed.
        attempts: Answers that were checked.
        failing: The check that the last attempt failed at.
        hints: Hints that were shown for this check.
        solution_seen: Whether the solution was shown before a pass.
    """

    state: str = "not attempted"
    passed: bool = False
    attempts: int = 0
    failing: str = ""
    hints: int = 0
    solution_seen: bool = False


class Progress:
    """The learner's record.

    Args:
        folder: Folder of the file; by default `my-work/`.

    Attributes:
        warning: What the learner should know about the file, or "".
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or work_folder()
        self.warning = ""

    def entry(self, name: str) -> ExerciseRecord:
        """Return what is known about an exercise."""
        return self.entries().get(name, ExerciseRecord())

    def entries(self) -> dict[str, ExerciseRecord]:
        """Return what is known about all exercises that were touched."""
        try:
            content = json.loads((self._folder / FILE).read_text(encoding="utf-8"))
            return {name: _entry(facts) for name, facts in content["exercises"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.warning = (
                f"{self._folder.name}/{FILE} could not be read and starts afresh; "
                f"the old one is kept as {FILE}.damaged."
            )
            return {}

    @contextlib.contextmanager
    def change(self, name: str) -> Iterator[ExerciseRecord]:
        """Change one entry and write the file; a folder that cannot be written is a warning."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / LOCK).open("w")
        except OSError as error:
            self.warning = f"Your progress cannot be written to {self._folder.name}/: {error.strerror}."
            yield ExerciseRecord()
            return
        with lock:
            # Without it a notebook and a terminal could each write back what the other has not seen.
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = self.entries()
            entry = entries.setdefault(name, ExerciseRecord())
            yield entry
            try:
                self._write(entries)
            except OSError as error:
                self.warning = f"Your progress cannot be written to {self._folder.name}/: {error.strerror}."

    def note_attempt(self, name: str, state: str, failing: str) -> None:
        """Record what became of one answer."""
        with self.change(name) as entry:
            entry.attempts += 1
            # The feedback shows the first hint for the check that failed.
            entry.hints = max(1, entry.hints if failing == entry.failing else 1)
            entry.state, entry.failing = state, failing
            entry.passed = entry.passed or state == "passed"

    def _write(self, entries: dict[str, ExerciseRecord]) -> None:
        path = self._folder / FILE
        if self.warning and path.exists():
            path.replace(self._folder / f"{FILE}.damaged")
        content = {
            "version": 1,
            "exercises": {name: dataclasses.asdict(entries[name]) for name in sorted(entries)},
        }
        write_atomically(path, json.dumps(content, indent=2), mode=0o600)


def _entry(facts: dict[str, Any]) -> ExerciseRecord:
    """Read one entry; unknown keys of a newer version are left out, wrong types are refused."""
    known = {field.name: type(field.default) for field in dataclasses.fields(ExerciseRecord)}
    kept = {key: value for key, value in facts.items() if key in known}
    for key, value in kept.items():
        if type(value) is not known[key]:
            raise ValueError(f"{key} is {value!r}")
    return ExerciseRecord(**kept)
