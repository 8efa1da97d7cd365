"""The frame of an exercise: the lines of its stub that are not the learner's, and that every answer keeps.

An answer in `also_right/` or `wrong/` is a whole cell, as a learner hands it in, so it repeats the frame.
When the stub changes, an answer that still has the old frame is one to another exercise: it may be rejected,
but no longer for the reason that it names.
"""

from __future__ import annotations

from collections.abc import Iterator

from deskbook.practice.exercise.cases import cases
from deskbook.practice.exercise.definition import Exercise

#: Lines between these two belong to the learner; the rest of the stub stays as it is.
REGION_STARTS = "# --- your code ---"
REGION_ENDS = "# --- end ---"


def frame_problems(exercise: Exercise) -> Iterator[str]:
    """Say which answers have drifted from the stub, each in one sentence."""
    if exercise.fields:
        return
    lines = [line.strip() for line in exercise.stub.splitlines()]
    marks = [line for line in lines if line in (REGION_STARTS, REGION_ENDS)]
    if marks != [REGION_STARTS, REGION_ENDS] * (len(marks) // 2) or not marks:
        yield f"the stub needs the lines `{REGION_STARTS}` and `{REGION_ENDS}` around what is to be changed"
        return
    frame = list(_frame(exercise.stub))
    for case in cases(exercise):
        missing = _missing(frame, case.source)
        if missing:
            yield f"the stub says `{missing}`, which {case.name} lacks there: one of them has drifted"


def _frame(stub: str) -> Iterator[str]:
    """Yield the lines outside of the marks.

    Imports are left out: an answer imports what it uses, and lets go of what it does not.
    """
    is_learners = False
    for line in map(str.rstrip, stub.splitlines()):
        if line.strip() in (REGION_STARTS, REGION_ENDS):
            is_learners = line.strip() == REGION_STARTS
        elif line and not is_learners and not line.startswith(("import ", "from ")):
            yield line


def _missing(frame: list[str], answer: str) -> str:
    """Return the first line of the frame that the answer does not have in its place, or ""."""
    lines = iter([_comparable(line) for line in answer.splitlines()])
    return next((line.strip() for line in frame if _comparable(line) not in lines), "")


def _comparable(line: str) -> str:
    """Take `async def` for `def`: an answer may choose, as FastAPI does not mind."""
    return line.rstrip().replace("async def ", "def ")
