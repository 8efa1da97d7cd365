"""`%%exercise NAME` submits its cell; `%hint`, `%solution`, `%reset` and `%progress` help on the way.

`%load_ext deskbook` registers them. Nothing is imported and no process started before one of them is used,
except in an exercise's own page: there the worker starts in the background at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deskbook.practice.exercise.definition import Exercise
    from deskbook.practice.learner.page import FeedbackPage

#: How long after the first sign of an exercise the worker starts, in seconds: a run without a reader is
#: over by then.
START_AFTER_S = 1.0


class Magics:
    """The magics of one kernel."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._last = ""
        self._timer: threading.Timer | None = None

    def register(self) -> None:
        """Make the magics known; IPython's own `%reset` keeps working when no exercise is named."""
        self._clear_names = self._shell.find_line_magic("reset")
        self._shell.register_magic_function(self.exercise, magic_kind="cell", magic_name="exercise")
        for name in ("hint", "solution", "reset", "progress"):
            self._shell.register_magic_function(getattr(self, name), magic_kind="line", magic_name=name)
        if Path(os.environ.get("JPY_SESSION_NAME", "")).name.startswith("exercise"):
            self._start_soon()

    def exercise(self, line: str, cell: str) -> None:
        """Check this cell as the answer to an exercise."""
        from deskbook.practice.checking.client import client
        from deskbook.practice.errors import PracticeError
        from deskbook.practice.exercise.definition import load
        from deskbook.practice.learner.progress import Progress
        from deskbook.practice.learner.submission import submit
        from deskbook.practice.learner.verdict_page import verdict_page

        try:
            exercise = load(line.strip())
            self._last = exercise.name
            verdict = submit(exercise, cell, client)
        except PracticeError as error:
            self._show(_sentence(str(error)))
            return
        page = verdict_page(verdict)
        if verdict.state == "not attempted":
            self._start_soon()
        else:
            progress = Progress()
            progress.note_attempt(exercise.name, verdict.state, verdict.failing)
            page.say(progress.warning, "Warning")
        self._show(page)
        if verdict.state == "passed":
            self._bind(exercise, cell)

    def hint(self, line: str) -> None:
        """Show the next hint: `%hint`, or `%hint NAME`."""
        from deskbook.practice.learner.help_pages import hint_page
        from deskbook.practice.learner.progress import Progress

        self._page(line.strip(), lambda exercise: hint_page(exercise, Progress(), "%hint"))

    def solution(self, line: str) -> None:
        """Show the solution: `%solution`, or `%solution NAME`; `--anyway` before a pass."""
        from deskbook.practice.learner.help_pages import solution_page
        from deskbook.practice.learner.progress import Progress

        words = line.split()
        anyway = "--anyway" in words
        name = " ".join(word for word in words if word != "--anyway")
        self._page(
            name, lambda exercise: solution_page(exercise, Progress(), "%solution --anyway", anyway=anyway)
        )

    def reset(self, line: str) -> None:
        """Put a fresh stub into a new cell: `%reset NAME`; with other words IPython's own `%reset`."""
        from deskbook.practice.exercise.definition import names
        from deskbook.practice.learner.page import FeedbackPage
        from deskbook.practice.learner.progress import Progress

        name = line.strip() or self._last
        if name not in names():
            self._clear_names(line)
            return

        def fresh(exercise: Exercise) -> FeedbackPage:
            with Progress().change(exercise.name) as entry:
                entry.hints, entry.failing = 0, ""
            self._shell.set_next_input(f"%%exercise {exercise.name}\n{exercise.stub}".rstrip("\n"))
            return FeedbackPage(f"{exercise.name}: the stub stands in a new cell below")

        self._page(name, fresh)

    def progress(self, line: str) -> None:
        """Show which exercises are passed."""
        from deskbook.practice.learner.help_pages import progress_page
        from deskbook.practice.learner.progress import Progress

        self._show(progress_page(Progress()))

    def _page(self, name: str, make: Any) -> None:
        from deskbook.practice.errors import PracticeError
        from deskbook.practice.exercise.definition import load

        try:
            if not (name or self._last):
                raise PracticeError(
                    "Name the exercise, such as `%hint 00_warm_up`, or submit an answer first."
                )
            exercise = load(name or self._last)
            self._last = exercise.name
            page = make(exercise)
        except PracticeError as error:
            page = _sentence(str(error))
        self._show(page)

    def _show(self, page: FeedbackPage) -> None:
        from IPython.display import publish_display_data

        publish_display_data(page._repr_mimebundle_())  # type: ignore[no-untyped-call]

    def _bind(self, exercise: Exercise, cell: str) -> None:
        """Define the names of a passed answer in the kernel, so that the learner can play with them."""
        import linecache

        source = f"\n{cell}"
        filename = f"<exercise {exercise.name}>"
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        # What the answer prints was shown already, and an answer that ran once may fail here without harm.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            exec(compile(source, filename, "exec"), self._shell.user_ns)  # noqa: S102

    def _start_soon(self) -> None:
        """Start the worker in the background, so that it is warm when the answer is written."""
        if self._timer is None:
            self._timer = threading.Timer(START_AFTER_S, _start_worker)
            self._timer.daemon = True
            self._timer.start()


def _start_worker() -> None:
    from deskbook.practice.checking.client import client

    with contextlib.suppress(OSError):  # the first check tries again, and says what is wrong
        client.start()


def _sentence(text: str) -> FeedbackPage:
    from deskbook.practice.learner.page import FeedbackPage

    return FeedbackPage(text, "bad")


def load_ipython_extension(shell: Any) -> None:
    """Register the magics in the running kernel."""
    Magics(shell).register()
