"""The command group `deskbook services`."""

from __future__ import annotations

import click

from deskbook.services.control import Status
from deskbook.services.control import status as running
from deskbook.services.control import stop as stop_all
from deskbook.services.errors import ServicesError
from deskbook.services.inspection import inspect


@click.group()
def services() -> None:
    """Show or stop the PostgreSQL and Valkey servers.

    They start by themselves when a notebook, a test or a command needs them, and end with the last one.

    Example: deskbook services status
    """


@services.command()
def status() -> None:
    """Say what runs, who uses it, and what would be started. Passwords are not shown.

    Example: deskbook services status
    """
    found = _or_fail(running)
    for one in found:
        for service in one.services:
            click.echo(f"running: {service}")
        click.echo(f"used by: {_processes(one)}; owned by process {one.pid}")
    if not found:
        click.echo("Nothing is running.")
        for seen in inspect().values():
            if seen.problem:
                click.echo(f"{seen.service}: {seen.problem} {seen.remedy}")
            else:
                click.echo(f"{seen.service}: would be {seen.version} from {seen.origin} ({seen.reason})")


@services.command()
def stop() -> None:
    """End the servers now, also while processes use them; their data are gone.

    Example: deskbook services stop
    """
    stopped = _or_fail(stop_all)
    for one in stopped:
        names = " and ".join(f"{service.name} {service.version}" for service in one.services) or "no server"
        click.echo(f"Stopped {names}; used by: {_processes(one)}.")
        if one.clients:
            click.echo("Restart the kernels that used them, or run their first cells again.")
    if not stopped:
        click.echo("Nothing was running.")


def _processes(one: Status) -> str:
    if not one.clients:
        return "no process"
    count = len(one.clients)
    return f"{count} process{'es' if count > 1 else ''} ({', '.join(map(str, one.clients))})"


def _or_fail(action: object) -> tuple[Status, ...]:
    assert callable(action)
    try:
        result: tuple[Status, ...] = action()
    except ServicesError as error:
        raise click.ClickException(str(error)) from None
    return result
