"""The commands `deskbook exercise ...`: the exercises on files, for people who prefer their editor."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from deskbook.atomic_file import write_atomically
from deskbook.checkout import NotACheckoutError, exercises_folder, work_folder
from deskbook.practice.errors import PracticeError
from deskbook.practice.exercise.definition import Exercise, load, names
from deskbook.practice.learner.progress import Progress

ANSWER = "answer.py"


@click.group(epilog="Example: deskbook exercise start 41_lost_update")
def exercise() -> None:
    """Solve exercises in your editor, and write new ones."""


def _clear_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (PracticeError, NotACheckoutError) as error:
            raise click.ClickException(str(error)) from None

    return wrapped


@exercise.command("list", epilog="Example: deskbook exercise list")
@_clear_errors
def list_() -> None:
    """Show the exercises and which of them you have passed."""
    from deskbook.practice.learner.help_pages import progress_page

    click.echo(str(progress_page(Progress())))


@exercise.command(epilog="Example: deskbook exercise start 41_lost_update")
@click.argument("name")
@_clear_errors
def start(name: str) -> None:
    """Write the stub of an exercise to my-work/; an answer that is there is kept."""
    chosen = load(name)
    path = _answer_path(chosen)
    if path.exists():
        click.echo(
            f"{_shown(path)} is there already and was kept; `deskbook exercise reset {name}` starts afresh."
        )
        return
    _write(path, chosen.stub)
    click.echo(f"Read {_shown(chosen.folder / 'exercise.ipynb')}, change {_shown(path)}, "
               f"then: deskbook exercise check {name}")  # fmt: skip


@exercise.command(epilog="Example: deskbook exercise check 41_lost_update")
@click.argument("name")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_clear_errors
def check(name: str, file: Path | None) -> None:
    """Check your answer: my-work/exercises/NAME/answer.py, or FILE. Exit code 1 if it does not pass."""
    from deskbook.practice.checking.client import client
    from deskbook.practice.learner.submission import submit
    from deskbook.practice.learner.verdict_page import verdict_page

    chosen = load(name)
    path = file or _answer_path(chosen)
    if not path.exists():
        raise PracticeError(f"There is no {_shown(path)}. Begin with: deskbook exercise start {name}")
    verdict = submit(chosen, path.read_text(encoding="utf-8"), client, first_line=1)
    again = f"run `deskbook exercise check {name}`"
    page = verdict_page(verdict, hint_command=f"deskbook exercise hint {name}", check_again=again)
    if verdict.state != "not attempted":
        progress = Progress()
        progress.note_attempt(name, verdict.state, verdict.failing)
        page.say(progress.warning, "Warning")
    click.echo(str(page))
    if verdict.state != "passed":
        raise click.exceptions.Exit(1)


@exercise.command(epilog="Example: deskbook exercise hint 41_lost_update")
@click.argument("name")
@_clear_errors
def hint(name: str) -> None:
    """Show one more hint, for the check that your last answer failed."""
    from deskbook.practice.learner.help_pages import hint_page

    click.echo(str(hint_page(load(name), Progress(), f"deskbook exercise hint {name}")))


@exercise.command(epilog="Example: deskbook exercise solution 41_lost_update")
@click.argument("name")
@click.option("--anyway", is_flag=True, help="Show it before you have passed.")
@_clear_errors
def solution(name: str, anyway: bool) -> None:
    """Show our solution and why it works."""
    from deskbook.practice.learner.help_pages import solution_page

    command = f"deskbook exercise solution {name} --anyway"
    click.echo(str(solution_page(load(name), Progress(), command, anyway=anyway)))


@exercise.command(epilog="Example: deskbook exercise reset 41_lost_update")
@click.argument("name")
@_clear_errors
def reset(name: str) -> None:
    """Put the stub back; your answer is kept beside it as answer.before_reset.py."""
    chosen = load(name)
    path = _answer_path(chosen)
    if path.exists():
        path.replace(path.with_suffix(".before_reset.py"))
    _write(path, chosen.stub)
    with Progress().change(name) as entry:
        entry.hints, entry.failing = 0, ""
    click.echo(f"{_shown(path)} is the stub again.")


@exercise.command(epilog="Example: deskbook exercise verify 41_lost_update --repeat 20")
@click.argument("chosen", metavar="[NAME]...", nargs=-1)
@click.option(
    "--repeat", default=1, show_default=True, type=click.IntRange(1), help="How often to run it all."
)
@_clear_errors
def verify(chosen: tuple[str, ...], repeat: int) -> None:
    """Test the exercises themselves against right and wrong answers; without a name, all of them."""
    from deskbook.practice.gate import AT_A_TIME, verify_all

    every = list(dict.fromkeys(chosen)) or names()
    started, times = time.perf_counter(), "" if repeat == 1 else f", {repeat} times each"
    click.echo(f"{_exercises(len(every))}{times}, {AT_A_TIME} at a time. Seconds of each:")
    broken = 0
    for verified in verify_all([exercises_folder() / name for name in every], repeat):
        broken += bool(verified.problems)
        said = "does not hold" if verified.problems else "holds"
        click.echo(f"{verified.seconds:7.1f}  {verified.name}  {said}")
        for problem, met in verified.problems.items():
            click.echo(f"         {problem}" + ("" if repeat == 1 else f" ({met} of {repeat} times)"))
    seconds = time.perf_counter() - started
    if broken:
        click.echo(f"{broken} of {_exercises(len(every))} must be mended{times}. {seconds:.0f} s.")
        raise click.exceptions.Exit(1)
    click.echo(f"{_exercises(len(every))} hold{'s' * (len(every) == 1)}{times}. {seconds:.0f} s.")


def _exercises(count: int) -> str:
    return f"{count} exercise{'s' * (count != 1)}"


@exercise.command(epilog="Example: deskbook exercise new 12_fan_out")
@click.argument("name")
@_clear_errors
def new(name: str) -> None:
    """Make an exercise that works and that verify accepts; its author replaces it piece by piece.

    NAME is the number of the lesson and words, such as 12_fan_out.
    """
    # Imported here, because a bare install has no packages that run a notebook.
    from deskbook.authoring.run import run_notebook
    from deskbook.practice.exercise.skeleton import write_skeleton

    folder = write_skeleton(exercises_folder(), name)
    run_notebook(folder / "exercise.ipynb")
    click.echo(f"{_shown(folder)} is there, and holds. Change it, then: deskbook exercise verify {name}")


def _answer_path(chosen: Exercise) -> Path:
    return work_folder() / "exercises" / chosen.name / ANSWER


def _shown(path: Path) -> str:
    """Return the path from the current folder where it lies below it, else the whole path."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as error:
        raise PracticeError(f"{_shown(path)} cannot be written: {error.strerror}.") from None
