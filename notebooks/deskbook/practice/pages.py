"""What `hint`, `solution`, `progress` show, in a notebook and in a terminal."""

from __future__ import annotations

from pathlib import Path

from .exercise import Exercise, load, names
from .page import Page
from .progress import Entry, Progress


def hint_page(exercise: Exercise, progress: Progress, command: str) -> Page:
    """Show one hint more than before, for the check that the last attempt failed at.

    Args:
        exercise: The exercise.
        progress: The learner's record.
        command: How the reader asks for the next hint.
    """
    with progress.change(exercise.name) as entry:
        check = entry.failing or exercise.stub_fails
        levels = exercise.hints.get(check) or exercise.hints.get(exercise.stub_fails, ())
        entry.hints = min(entry.hints + 1, len(levels))
        shown = entry.hints
    page = Page(f"{exercise.name}: hint {shown} of {len(levels)}")
    page.say(exercise.sentence(check), "For this check")
    page.items([(f"hint {number}", text) for number, text in enumerate(levels[:shown], start=1)])
    if shown < len(levels):
        page.say(f"`{command}` shows the next one.")
    return _warned(page, progress)


def solution_page(exercise: Exercise, progress: Progress, command: str, *, anyway: bool) -> Page:
    """Show the solution and its reasoning, after a pass or when the reader insists.

    Args:
        exercise: The exercise.
        progress: The learner's record.
        command: How the reader insists.
        anyway: Whether they do.
    """
    entry = progress.entry(exercise.name)
    if not (entry.passed or entry.solution_seen or anyway):
        page = Page(f"{exercise.name}: not passed yet")
        page.say("You learn more from one more try. A hint may be enough.")
        return page.say(f"`{command}` shows the solution all the same.")
    if not entry.passed:
        with progress.change(exercise.name) as changed:
            changed.solution_seen = True
    page = Page(f"{exercise.name}: one solution")
    page.code(exercise.solution.rstrip("\n"))
    return _warned(page.say(exercise.why, "Why it works"), progress)


def progress_page(progress: Progress, folder: Path | None = None) -> Page:
    """Show every exercise with its state."""
    entries = progress.entries()
    exercises = [load(name, folder) for name in names(folder)]
    done = sum(entries.get(exercise.name, Entry()).passed for exercise in exercises)
    page = Page(f"{done} of {len(exercises)} exercises passed", "good" if done == len(exercises) else "plain")
    rows = [
        (_in_words(entries.get(it.name, Entry())), f"{it.name}, {it.minutes} minutes: {it.title}")
        for it in exercises
    ]
    return _warned(page.items(rows), progress)


def _in_words(entry: Entry) -> str:
    if entry.passed:
        return "passed"
    if not entry.attempts:
        return "open"
    return "1 try" if entry.attempts == 1 else f"{entry.attempts} tries"


def _warned(page: Page, progress: Progress) -> Page:
    return page.say(progress.warning, "Warning")
