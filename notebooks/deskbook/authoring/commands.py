"""The commands `deskbook notebook ...`."""

from __future__ import annotations

from pathlib import Path

import click

from .notebook_file import NotebookFileError

#: The lessons of this checkout: what a command works on when no notebook is named.
LESSONS = Path(__file__).parents[2]

NotebookPath = click.Path(path_type=Path, dir_okay=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def notebook() -> None:
    """Run, lint, mutate, edit and sync notebooks.

    Example: deskbook notebook run notebooks/00_start_here.ipynb
    """


def chosen(notebooks: tuple[Path, ...]) -> list[Path]:
    """Return the named notebooks, or all lessons of the checkout."""
    paths = list(notebooks) or sorted(LESSONS.glob("*.ipynb"))
    if not paths:
        raise click.ClickException(f"There is no notebook in {LESSONS}. Name one, or start one with `edit`.")
    return paths


@notebook.command()
@click.argument("notebooks", nargs=-1, type=NotebookPath)
@click.option(
    "--timeout", "timeout_s", default=60.0, show_default=True, help="Longest time for a cell, in seconds."
)
def run(notebooks: tuple[Path, ...], timeout_s: float) -> None:
    """Execute notebooks from a fresh kernel and store their outputs.

    A cell that fails stops the run and leaves the file as it was. Without a name, all lessons run.

    Example: deskbook notebook run notebooks/11_keep_the_event_loop_free.ipynb
    """
    from .run import CellFailedError, KernelStartError, run_notebook

    for path in chosen(notebooks):
        with click.progressbar(length=1, label=path.name, show_pos=True) as bar:

            def show(number: int, total: int, bar: click.progressbar = bar) -> None:  # type: ignore[valid-type]
                bar.length = total  # type: ignore[attr-defined]
                bar.update(1)  # type: ignore[attr-defined]

            try:
                result = run_notebook(path, timeout_s, on_cell=show)
            except (CellFailedError, KernelStartError, NotebookFileError) as error:
                raise click.ClickException(f"{path}: {error}\n\nThe file was not changed.") from None
        click.echo(f"{path}: {result.cells} cells, {'new outputs stored' if result.changed else 'unchanged'}")
