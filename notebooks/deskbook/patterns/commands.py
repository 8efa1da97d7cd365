"""The commands `deskbook pattern list|show|copy|check|mended`."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import click

from deskbook.checkout import NotACheckoutError
from deskbook.patterns.catalogue import PROBLEMS, Pattern, PatternError, catalogue, find, get
from deskbook.patterns.copies import Copy, copies, python_files
from deskbook.patterns.copying import Copied, copy_pattern
from deskbook.patterns.history import record


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


@pattern.command(epilog="Example: deskbook pattern check src")
@click.argument("folder", type=click.Path(path_type=Path))
def check(folder: Path) -> None:
    """Name the copies of patterns in FOLDER that are older than a repair, and what was mended.

    A copy is known by its statements, so it may have lost its header, been formatted anew, or been changed in
    a few lines. Nothing is written. The exit status is 1 where a copy is older than a repair, so that CI can
    ask.
    """
    try:
        files = python_files(folder)
    except PatternError as error:
        raise click.ClickException(str(error)) from None
    with click.progressbar(files, label="Reading", show_pos=True, hidden=len(files) < 200) as shown:
        found = list(copies(shown))
    for it in found:
        if it.missing:
            _tell(it)
    old = sum(bool(it.missing) for it in found)
    if not found:
        click.echo(f"No copy of a pattern is in {folder}: {len(files)} Python files were read.")
    elif not old:
        click.echo(f"{_copies(len(found))} in {folder}, none of them older than a repair.")
    else:
        click.echo(f"{_copies(len(found))} in {folder}, {old} of them older than a repair.")
        click.echo("Commit your own changes, then `deskbook pattern copy NAME FOLDER --force` and compare.")
        raise SystemExit(1)


@pattern.command(epilog='Example: deskbook pattern mended money "Yen were refused." --since HEAD~1')
@click.argument("name")
@click.argument("sentences", nargs=-1, required=True)
@click.option("--since", default="HEAD", show_default=True, help="Revision of git from before the repair.")
def mended(name: str, sentences: tuple[str, ...], since: str) -> None:
    """Record what was mended in a pattern, so that `deskbook pattern check` tells those who have copies.

    For those who work on the patterns, in a checkout. Each of SENTENCES says what a copy from before does
    wrong.
    """
    try:
        repair = record(name, since, sentences, dt.datetime.now(dt.UTC).date())
    except (PatternError, NotACheckoutError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"recorded: {len(repair.gone)} statements of {name} gone, {len(repair.new)} new")


def _tell(copy: Copy) -> None:
    click.echo(click.style(f"{copy.path}: a copy of {copy.pattern}", bold=True))
    for repair in copy.missing:
        for sentence in repair.mended:
            click.echo(f"  {repair.date}  {sentence}")


def _copies(number: int) -> str:
    return "1 copy of a pattern is" if number == 1 else f"{number} copies of patterns are"


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
