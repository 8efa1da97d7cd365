"""The commands `deskbook notebook ...`."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from deskbook.authoring.notebook_file import NotebookFileError

#: The lessons of this checkout: what a command works on when no notebook is named.
LESSONS = Path(__file__).parents[2]

NotebookPath = click.Path(path_type=Path, dir_okay=False)


@click.group(epilog="Example: deskbook notebook run notebooks/00_start_here.ipynb")
def notebook() -> None:
    """Make, run, lint, mutate, repeat, edit and sync notebooks."""


@contextlib.contextmanager
def cell_progress(path: Path) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar over the cells of a notebook; yield the function that moves it."""
    with click.progressbar(length=1, label=path.name, show_pos=True, file=sys.stderr) as bar:

        def show(number: int, total: int) -> None:
            bar.length = total
            bar.update(number - bar.pos)

        yield show


@contextlib.contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn what can go wrong with a notebook into one message without a traceback."""
    from deskbook.authoring.edit import ConflictError
    from deskbook.authoring.run import CellFailedError, KernelStartError
    from deskbook.authoring.text import TextError

    try:
        yield
    except (CellFailedError, KernelStartError) as error:
        raise click.ClickException(f"{path}: {error}\n\nThe notebook was not changed.") from None
    except (ConflictError, TextError, NotebookFileError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        what = f"{error.strerror} ({Path(error.filename).parent})" if error.filename else str(error)
        raise click.ClickException(f"{path}: {what}. Is the folder writable, and is there space?") from None


def chosen(notebooks: tuple[Path, ...]) -> list[Path]:
    """Return the named notebooks, or all lessons and exercises of the checkout."""
    pages = LESSONS.parent.glob("exercises/*/exercise.ipynb")
    paths = list(notebooks) or [*sorted(LESSONS.glob("*.ipynb")), *sorted(pages)]
    if not paths:
        raise click.ClickException(f"There is no notebook in {LESSONS}. Name one, or start one with `edit`.")
    return paths


@notebook.command(epilog="Example: deskbook notebook run notebooks/11_keep_the_event_loop_free.ipynb")
@click.argument("notebooks", nargs=-1, type=NotebookPath)
@click.option(
    "--timeout", "timeout_s", default=60.0, show_default=True, help="Longest time for a cell, in seconds."
)
def run(notebooks: tuple[Path, ...], timeout_s: float) -> None:
    """Execute notebooks from a fresh kernel and store their outputs.

    A cell that fails stops the run and leaves the file as it was. Without a name, all lessons run.
    """
    from deskbook.authoring.run import run_notebook

    for path in chosen(notebooks):
        with cell_progress(path) as show, clear_errors(path):
            result = run_notebook(path, timeout_s, on_cell=show)
        click.echo(f"{path}: {result.cells} cells, {'new outputs stored' if result.changed else 'unchanged'}")


@notebook.command(epilog="Example: deskbook notebook lint --explain dropped-task")
@click.argument("notebooks", nargs=-1, type=NotebookPath)
@click.option(
    "--explain", "rule_name", metavar="RULE", help="Say why a rule exists and what to do; `all` for each."
)
def lint(notebooks: tuple[Path, ...], rule_name: str | None) -> None:
    """Check notebooks against the rules of the course.

    Without a name, all lessons are checked. Exit code 1 if a rule is broken.
    """
    from deskbook.authoring.lint import all_rules, lint_notebook

    if rule_name is not None:
        rules = all_rules()
        if rule_name != "all" and rule_name not in rules:
            raise click.ClickException(
                f"There is no rule {rule_name!r}. The rules: {', '.join(sorted(rules))}."
            )
        for each in sorted(rules.values(), key=lambda rule: rule.name):
            if rule_name in {"all", each.name}:
                click.echo(f"{each.name}\n  Why: {each.reason}\n  Fix: {each.fix}")
        return
    paths = chosen(notebooks)
    findings = []
    for path in paths:
        try:
            findings += lint_notebook(path)
        except NotebookFileError as error:
            raise click.ClickException(str(error)) from None
    for finding in findings:
        click.echo(str(finding))
    for name in dict.fromkeys(finding.rule.name for finding in findings):
        click.echo(f"  {name}: {all_rules()[name].fix}")
    if findings:
        raise click.exceptions.Exit(1)
    click.echo(f"{len(paths)} notebooks, {len(all_rules())} rules, nothing found.")


@notebook.command(epilog="Example: deskbook notebook repeat tests/load --times 10 --busy 3")
@click.argument("targets", metavar="NOTEBOOK...", nargs=-1, required=True)
@click.option(
    "--times", default=10, show_default=True, type=click.IntRange(1), help="Runs of each, the busy included."
)
@click.option(
    "--busy",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="How many of the runs happen while every core is busy.",
)
def repeat(targets: tuple[str, ...], times: int, busy: int) -> None:
    """Run notebooks or test files several times and compare each run as `make test` does.

    Each run starts afresh: a new kernel for a notebook, a new pytest for a test file. Shows how many runs
    were green and what differed first. Exit code 1 if any run is red.
    """
    from deskbook.authoring.repeat import RepeatError, repeat

    if busy > times:
        raise click.UsageError(f"--busy {busy} of --times {times}: no more runs can be busy than there are.")
    for target in targets:
        if not Path(target.partition("::")[0]).exists():
            raise click.ClickException(f"There is no {target}. Name a notebook or a test file.")
    repetitions = []
    with (
        _ended_like_ctrl_c(),
        click.progressbar(length=times * len(targets), label="runs", file=sys.stderr) as bar,
    ):
        for target in targets:
            bar.label = Path(target).name
            try:
                repetitions.append(repeat(target, times, busy, on_run=lambda: bar.update(1)))
            except RepeatError as error:
                raise click.ClickException(str(error)) from None
    for repetition in repetitions:
        click.echo("\n".join(repetition.lines()))
    if not all(repetition.is_green for repetition in repetitions):
        raise click.exceptions.Exit(1)


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the command as Ctrl-C does: a run may have servers to stop."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@notebook.command(epilog="Example: deskbook notebook new 12_fan_out_with_structure")
@click.argument("name")
@click.option("--title", help="Title with a verb, such as 'Fan out with structure'; by default from NAME.")
@click.option(
    "--exercise",
    "exercises",
    multiple=True,
    help="Exercise that it leads to; by default those of its number.",
)
def new(name: str, title: str | None, exercises: tuple[str, ...]) -> None:
    """Make a lesson that has the whole grammar, runs and breaks no rule; its author replaces the pieces.

    NAME is the number of the lesson and its words, such as 12_fan_out_with_structure, or a path.
    """
    from deskbook.authoring.document import LESSON_NAME
    from deskbook.authoring.edit import create

    path = Path(name).with_suffix(".ipynb")
    if path.parent == Path():
        path = LESSONS / path
    if not LESSON_NAME.match(path.stem):
        raise click.ClickException(
            f"{path.stem!r} is no name of a lesson: two digits, the first of them the part from 1 to 6, and "
            "small letters, such as 12_fan_out_with_structure."
        )
    if path.exists():
        raise click.ClickException(f"{path} is there already. Change it with: deskbook notebook edit {path}")
    if missing := [it for it in exercises if not (path.parent.parent / "exercises" / it).is_dir()]:
        raise click.ClickException(
            f"There is no exercise {missing[0]!r}. Make it first: deskbook exercise new {missing[0]}"
        )
    with cell_progress(path) as show, clear_errors(path):
        create(path, title, exercises, on_cell=show)
    click.echo(f"{path} is there, and runs. Next: deskbook notebook edit {path}")


@notebook.command(epilog="Example: deskbook notebook edit notebooks/12_fan_out_with_structure.ipynb")
@click.argument("path", metavar="NOTEBOOK", type=NotebookPath)
@click.option("--open", "open_editor", is_flag=True, help="Open the text in $EDITOR, then sync.")
@click.pass_context
def edit(context: click.Context, path: Path, open_editor: bool) -> None:
    """Write a notebook as text beside it, to be edited and brought back by `sync`.

    For a notebook that does not exist, the text holds the grammar of a lesson. A text in work is kept.
    """
    from deskbook.authoring.edit import start_edit

    with clear_errors(path):
        target = start_edit(path)
    if not open_editor:
        click.echo(f"Edit {target}, then: deskbook notebook sync {path}")
        return
    click.edit(filename=str(target))
    context.invoke(sync, path=path)


@notebook.command(epilog="Example: deskbook notebook sync notebooks/12_fan_out_with_structure.ipynb")
@click.argument("path", metavar="NOTEBOOK", type=NotebookPath)
@click.option("--timeout", "timeout_s", default=60.0, show_default=True, help="Limit for a cell, in seconds.")
@click.option("--keep-text", is_flag=True, help="Take the text although the notebook has changed meanwhile.")
def sync(path: Path, timeout_s: float = 60.0, keep_text: bool = False) -> None:
    """Bring an edited text back into its notebook and execute every cell.

    If a cell fails the notebook stays as it was, and so does the text.
    """
    from deskbook.authoring.edit import sync as bring_back

    with cell_progress(path) as show, clear_errors(path):
        cells = bring_back(path, timeout_s, keep_text, on_cell=show)
    click.echo(f"{path}: {cells} cells, executed and stored. Next: deskbook notebook lint {path}")


@notebook.command(epilog="Example: deskbook notebook mutate notebooks/00_start_here.ipynb")
@click.argument("notebooks", nargs=-1, type=NotebookPath)
def mutate(notebooks: tuple[Path, ...]) -> None:
    """Corrupt stored outputs one at a time and ask whether the comparison notices.

    Each notebook is executed once. Lists the mutants by cell, and every survivor with the reason. Exit code 1
    if a notebook fails, or if too few mutants are noticed. Without a name, all lessons are used.
    """
    from deskbook.authoring.strict_run import strict_pytest

    if code := strict_pytest(["--survivors", *map(str, chosen(notebooks))]):
        raise click.exceptions.Exit(code)
