"""The command `deskbook doctor`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from deskbook.checkout import NotACheckoutError, root
from deskbook.doctor.checks import (
    Finding,
    State,
    check_chromium,
    check_disk,
    check_packages,
    check_ports,
    check_python,
    check_services,
)

_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "red"}


@click.command(epilog="Example: deskbook doctor")
def doctor() -> None:
    """Say whether `make lab` and `make test` would work here, and if not, what to do.

    Looks at Python, the packages against the lock, PostgreSQL and Valkey, ports, Chromium and the disk.
    Starts nothing and changes nothing. The exit code is 0 when all is well or only a warning remains.
    """
    states = []
    for finding in _findings():
        states.append(finding.state)
        click.echo(f"{click.style(f'{finding.state.value:8}', fg=_COLOURS[finding.state])} {_line(finding)}")
        if finding.remedy:
            click.echo(f"{'':8} -> {finding.remedy}")
    if State.PROBLEM in states:
        click.echo("\nlab and test would not work here yet: see the arrows above.")
        sys.exit(1)
    click.echo("\nlab and test would work here.")


def _findings() -> Iterator[Finding]:
    """Yield each finding as soon as it is there: a server that does not answer takes two seconds."""
    try:
        checkout = root()
    except NotACheckoutError as error:
        raise click.ClickException(str(error)) from None
    yield check_python()
    yield check_packages(checkout)
    yield from check_services()
    yield check_ports()
    yield check_chromium()
    yield check_disk(checkout)


def _line(finding: Finding) -> str:
    return f"{finding.subject}: {finding.text}"
