"""The command `deskbook lab`."""

from __future__ import annotations

import signal
import subprocess
import webbrowser
from pathlib import Path
from types import FrameType

import click

from deskbook.checkout import NotACheckoutError, root, work_folder
from deskbook.lab.copies import CopiedLessons, copy_lessons, trust
from deskbook.lab.server import LabError, jupyterlab
from deskbook.services import ServicesError, ensure


@click.command(epilog="Example: deskbook lab --no-browser --port 9000")
@click.option("--no-browser", is_flag=True, help="Print the address and open no browser.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port; by default 8888 or the next free one.")
@click.option("--ip", default="127.0.0.1", show_default=True, help="Address to listen on.")
def lab(no_browser: bool, port: int | None, ip: str) -> None:
    """Start the services and JupyterLab on the start page; Ctrl-C ends both.

    Lessons are opened as copies in my-work/, which belong to you: updates never overwrite what you changed.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal ends the lab like Ctrl-C
        signal.signal(number, _interrupt)
    try:
        work = work_folder()
        _open(work, copy_lessons(root(), work), no_browser, port, ip)
    except (LabError, ServicesError, NotACheckoutError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(
            f"{_shown(work)} cannot be written: {error.strerror}. "
            "Lessons are copied there before they are opened."
        ) from None
    except KeyboardInterrupt:
        click.echo(f"\nStopped. Your work is in {_shown(work)}.", err=True)


def _open(work: Path, copied: CopiedLessons, no_browser: bool, port: int | None, ip: str) -> None:
    for path in copied.offered:
        click.echo(f"A lesson that you changed has a new version beside it: {_shown(work)}{path}")
    with jupyterlab(work, ip=ip, port=port) as server:
        # JupyterLab takes two seconds to come up: time enough for signatures and services.
        trust(work / name for name in (*copied.new, *copied.updated, *copied.offered))
        servers = ensure()
        address = server.wait_for_address()
        for name, service in (("PostgreSQL", servers.postgres), ("Valkey", servers.redis)):
            if service is not None:
                click.echo(f"{name} {service.version} from {service.origin}")
        click.echo(f"\nThe lessons are open at\n  {address}\n\nCtrl-C ends JupyterLab and the services.")
        if not no_browser:
            webbrowser.open(address)
        _wait(server.process, work)


def _wait(server: subprocess.Popen[bytes], work: Path) -> None:
    if server.wait() != 0:
        raise LabError("JupyterLab ended by itself (killed? out of memory?). Start it again: make lab")
    click.echo(f"JupyterLab was shut down. Your work is in {_shown(work)}.", err=True)


def _shown(work: Path) -> str:
    """Return the learner's folder with a slash at its end: `my-work/`, or the whole path of another one."""
    return f"{work.name if work.parent == root() else work}/"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
