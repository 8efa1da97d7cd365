"""The pages of `hint`, `solution` and `progress`, in a notebook and in a terminal."""

from __future__ import annotations

from pathlib import Path

from deskbook.practice.exercise.definition import Exercise, load, names
from deskbook.practice.learner.page import FeedbackPage
from deskbook.practice.learner.progress import ExerciseRecord, Progress


def hint_page(exercise: Exercise, progress: Progress, command: str) -> FeedbackPage:
    """Show one more hint than before, for the check that the last attempt failed.

    Args:
        exercise: What the hint is about.
        progress: Where the hint is noted.
        command: How the reader asks for the next hint.
    """
    with progress.change(exercise.name) as entry:
        check = entry.failing or exercise.stub_fails
        levels = exercise.hints.get(check) or exercise.hints.get(exercise.stub_fails, ())
        entry.hints = min(entry.hints + 1, len(levels))
        shown = entry.hints
    page = FeedbackPage(f"{exercise.name}: hint {shown} of {len(levels)}")
    page.say(exercise.sentence(check), "For this check")
    page.items([(f"hint {number}", text) for number, text in enumerate(levels[:shown], start=1)])
    if shown < len(levels):
        page.say(f"`{command}` shows the next one.")
    return _warned(page, progress)


def solution_page(exercise: Exercise, progress: Progress, command: str, *, anyway: bool) -> FeedbackPage:
    """Show the solution and its reasoning, after a pass or when the reader insists.

    Args:
        exercise: Whose solution is shown.
        progress: Where it is noted that the solution was seen.
        command: How the reader insists.
        anyway: Whether the reader insists.
    """
    entry = progress.entry(exercise.name)
    if not (entry.passed or entry.solution_seen or anyway):
        page = FeedbackPage(f"{exercise.name}: not passed yet")
        page.say("You learn more from one more try. A hint may be enough.")
        return page.say(f"`{command}` shows the solution all the same.")
    if not entry.passed:
        with progress.change(exercise.name) as changed:
            changed.solution_seen = True
    page = FeedbackPage(f"{exercise.name}: one solution")
    page.code(exercise.solution.rstrip("\n"))
    return _warned(page.say(exercise.why, "Why it works"), progress)


def progress_page(progress: Progress, folder: Path | None = None) -> FeedbackPage:
    """Show every exercise with its state."""
    entries = progress.entries()
    exercises = [load(name, folder) for name in names(folder)]
    done = sum(entries.get(exercise.name, ExerciseRecord()).passed for exercise in exercises)
    page = FeedbackPage(
        f"{done} of {len(exercises)} exercises passed", "good" if done == len(exercises) else "plain"
    )
    rows = [
        (_in_words(entries.get(it.name, ExerciseRecord())), f"{it.name}, {it.minutes} minutes: {it.title}")
        for it in exercises
    ]
    return _warned(page.items(rows), progress)


def _in_words(entry: ExerciseRecord) -> str:
    if entry.passed:
        return "passed"
    if not entry.attempts:
        return "open"
    return "1 try" if entry.attempts == 1 else f"{entry.attempts} tries"


def _warned(page: FeedbackPage, progress: Progress) -> FeedbackPage:
    return page.say(progress.warning, "Warning")
