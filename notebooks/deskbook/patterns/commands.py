"""The commands `deskbook pattern list|show|copy`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from deskbook.patterns.catalogue import PROBLEMS, Pattern, PatternError, catalogue, find, get
from deskbook.patterns.copying import Copied, copy_pattern


@click.group(epilog="Example: deskbook pattern copy single_flight src/desk --with-test")
def pattern() -> None:
    """Find a pattern, read it, and copy it into your own service."""


@pattern.command("list", epilog='Example: deskbook pattern list "cache cold"')
@click.argument("words", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print the catalogue for programs.")
def list_(words: tuple[str, ...], as_json: bool) -> None:
    """List the patterns by the problem they answer; WORDS narrow the list."""
    found = find(" ".join(words)) if words else catalogue()
    if as_json:
        click.echo(json.dumps([_record(it) for it in found], indent=2))
        return
    if not found:
        click.echo(f"No pattern speaks of {' '.join(words)!r}. `deskbook pattern list` shows them all.")
        return
    names = {it.name: it for it in found}
    for problem, answers in PROBLEMS.items():
        shown = [names[name] for name in answers if name in names]
        if shown:
            click.echo(click.style(problem, bold=True))
            for it in shown:
                click.echo(f"  {it.name:24}{it.summary}")


@pattern.command(epilog="Example: deskbook pattern show money")
@click.argument("name")
def show(name: str) -> None:
    """Print the file of a pattern: docstring, limits and code."""
    click.echo(_get(name).source, nl=False)


@pattern.command(epilog="Example: deskbook pattern copy single_flight src/desk --with-test")
@click.argument("name")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--with-test", is_flag=True, help="Copy its test beside it.")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def copy(name: str, folder: Path, with_test: bool, force: bool) -> None:
    """Copy a pattern into FOLDER, with a header that says where it came from."""
    try:
        copied = copy_pattern(get(name), folder, with_test=with_test, force=force)
    except PatternError as error:
        raise click.ClickException(str(error)) from None
    _report(copied)


def _report(copied: Copied) -> None:
    for path in copied.files:
        click.echo(f"wrote {path}")
    packages = (*copied.packages, *copied.test_packages)
    needs = " ".join(f"'{package}'" for package in packages)
    click.echo(f"install: pip install {needs}" if packages else "It needs the standard library only.")
    if copied.services:
        click.echo(f"its test reads {' and '.join(copied.services)}")


def _get(name: str) -> Pattern:
    try:
        return get(name)
    except PatternError as error:
        raise click.ClickException(str(error)) from None


def _record(it: Pattern) -> dict[str, object]:
    return {
        "name": it.name,
        "summary": it.summary,
        "problems": it.problems,
        "use_when": it.use_when,
        "limits": it.limits,
        "requires_python": it.requires_python,
        "dependencies": it.dependencies,
    }
