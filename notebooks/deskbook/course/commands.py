"""The command `deskbook course write`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deskbook.checkout import NotACheckoutError, root
from deskbook.course.lessons import read_lessons
from deskbook.course.pages import CourseMap, curriculum_markdown
from deskbook.course.pattern_page import NAME, write_pattern_page

START_PAGE = "00_start_here.ipynb"


@click.group(epilog="Example: deskbook course write")
def course() -> None:
    """Write the pages that are made from lessons and patterns."""


@course.command(epilog="Example: deskbook course write")
def write() -> None:
    """Write the map (README.md), the page of patterns and the start page anew, where they are out of date.

    Do it after a change of a lesson's metadata or title, and of a pattern's description. A notebook that
    changes is run, so that its outputs are those of a clean run.
    """
    try:
        notebooks = root() / "notebooks"
    except NotACheckoutError as error:
        raise click.ClickException(str(error)) from None
    found = read_lessons(notebooks)
    changed = [_write_map(notebooks / "README.md", curriculum_markdown(found))]
    changed.append(_write_patterns(notebooks / f"{NAME}.ipynb"))
    changed.append(_run_start_page(notebooks / START_PAGE, CourseMap(found)))
    for name in filter(None, changed):
        click.echo(f"wrote {name}")
    if not any(changed):
        click.echo("The pages say what lessons and patterns say: nothing to write.")


def _write_map(path: Path, text: str) -> str:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return ""
    path.write_text(text, encoding="utf-8")
    return path.name


def _write_patterns(path: Path) -> str:
    """Write the page of patterns and run it, unless it is up to date."""
    before = path.read_bytes() if path.exists() else b""
    write_pattern_page(path)
    if path.read_bytes() == before:
        return ""
    _run(path)
    return path.name


def _run_start_page(path: Path, course_map: CourseMap) -> str:
    """Run the start page if the map in its outputs is out of date."""
    if not path.exists() or repr(course_map) in _plain_outputs(path):
        return ""
    _run(path)
    return path.name


def _plain_outputs(path: Path) -> list[Any]:
    from deskbook.authoring.notebook_file import read_notebook

    cells = read_notebook(path)["cells"]
    return [out.get("data", {}).get("text/plain") for cell in cells for out in cell.get("outputs", [])]


def _run(path: Path) -> None:
    # Imported here, because a bare install has no packages that run a notebook.
    from deskbook.authoring.commands import cell_progress, clear_errors
    from deskbook.authoring.run import run_notebook

    with cell_progress(path) as show, clear_errors(path):
        run_notebook(path, on_cell=show)
