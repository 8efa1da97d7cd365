"""Run a lesson or a test file many times, each from a fresh start, and keep the first difference.

An output that depends on timing is the same nine times of ten. A lesson is done when it is green ten times,
three of them while every core computes something else.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from deskbook.authoring.busy_cores import busy_cores
from deskbook.authoring.first_failure import FirstFailure
from deskbook.authoring.strict_run import strict_command, strict_environment

#: Time that an interrupted run gets to end its kernel and its servers, in seconds.
END_TIMEOUT_S = 15.0

#: Exit codes of pytest after which something can be said: all passed, or something failed.
_PASSED, _FAILED = 0, 1


class RepeatError(Exception):
    """A run could not be judged: nothing was collected, or pytest itself failed."""


@dataclass(frozen=True)
class Run:
    """One run from a fresh start.

    Attributes:
        number: Position among the runs, from 1.
        busy: Whether every core was busy meanwhile.
        failure: What failed first, or None if the run is green.
    """

    number: int
    busy: bool
    failure: FirstFailure | None


@dataclass(frozen=True)
class Repetition:
    """All runs of one lesson or test file."""

    target: str
    runs: tuple[Run, ...]

    @property
    def is_green(self) -> bool:
        """Say whether every run was green."""
        return not any(run.failure for run in self.runs)

    def lines(self) -> list[str]:
        """Return how many runs were green, and of the first red one what differed."""
        quiet = [run for run in self.runs if not run.busy]
        busy = [run for run in self.runs if run.busy]
        parts = [f"{_green(runs)} {where}" for runs, where in ((quiet, "quiet"), (busy, "busy")) if runs]
        lines = [f"{self.target}: {_green(self.runs)} green ({', '.join(parts)})"]
        if (red := next((run for run in self.runs if run.failure), None)) and red.failure:
            kind = "every core busy" if red.busy else "on a quiet machine"
            lines += [f"  First red: run {red.number}, {kind}.", *(f"  {it}" for it in red.failure.lines())]
        return lines


def _green(runs: Iterable[Run]) -> str:
    runs = list(runs)
    return f"{sum(run.failure is None for run in runs)} of {len(runs)}"


def repeat(target: str, times: int, busy: int, on_run: Callable[[], None] | None = None) -> Repetition:
    """Run a lesson, the page of an exercise or a test file several times.

    The quiet runs come first.

    Args:
        target: A notebook, compared strictly as `make test` does, or a file or id for pytest.
        times: How many runs, the busy ones included.
        busy: How many of them happen while every core is busy.
        on_run: Called after each run.

    Raises:
        RepeatError: If a run cannot be judged; the message shows what pytest said.
    """
    runs = []
    for number in range(1, times + 1):
        is_busy = number > times - busy
        with busy_cores() if is_busy else contextlib.nullcontext():
            runs.append(Run(number, is_busy, _first_failure(target)))
        if on_run is not None:
            on_run()
    return Repetition(target, tuple(runs))


def _first_failure(target: str) -> FirstFailure | None:
    """Run the target once, in a process of its own, and return what failed first."""
    with tempfile.TemporaryDirectory(prefix="deskbook-repeat-") as folder:
        found, log = Path(folder, "first_failure.json"), Path(folder, "log.txt")
        options = ["-x", "--color=no", "--compare-only", f"--first-failure={found}", target]
        with log.open("wb") as output:
            code = _exit_code(_command(target, options), output.fileno())
        said = log.read_text(encoding="utf-8", errors="replace").strip()
        if code not in (_PASSED, _FAILED):
            raise RepeatError(f"{target} could not be run. The last words of pytest:\n{_tail(said)}")
        failure = FirstFailure.read(found)
        if code == _FAILED and failure is None:
            return FirstFailure("the run", _tail(said))
        return failure


def _command(target: str, options: list[str]) -> list[str]:
    if target.endswith(".ipynb"):
        return strict_command(options)
    plugin = ["-p", "deskbook.authoring.pytest_plugin", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", *plugin, *options]


def _exit_code(command: list[str], output: int) -> int:
    # A session of its own: Ctrl-C in the terminal reaches this process alone, which then asks once. A second
    # interrupt would hit pytest while it ends its kernels and servers, and leave them behind.
    environment = strict_environment() if "--notebooks" in command else None
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,
    )
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _tail(said: str) -> str:
    return "\n".join(said.splitlines()[-15:])
