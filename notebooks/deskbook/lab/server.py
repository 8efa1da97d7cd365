"""Run JupyterLab as a child that ends with its parent, and say where it is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from deskbook.processes.lifeline import end_with_parent

START_PAGE = "notebooks/00_start_here.ipynb"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
LOG_NAME = "jupyterlab.log"
_CONFIG = Path(__file__).parent / "jupyter_config"


class LabError(Exception):
    """JupyterLab did not start; the text says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Lab:
    """A JupyterLab that was started.

    Attributes:
        process: The server; its kernels are its children.
        runtime: Folder with its connection files and its log.
        token: The secret that opens it.
    """

    process: subprocess.Popen[bytes]
    runtime: Path
    token: str

    def wait_for_address(self) -> str:
        """Wait until it answers, and return the address of the start page with the token.

        Raises:
            LabError: The port is taken, or the server ended or hung before it answered.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise LabError(self._why_it_ended())
            for record in self.runtime.glob(f"jpserver-{self.process.pid}.json"):
                with contextlib.suppress(ValueError, OSError):  # a connection waits until the server is ready
                    address = str(json.loads(record.read_text())["url"])
                    urllib.request.urlopen(f"{address}api", timeout=2).close()  # noqa: S310 - our own server
                    return f"{address}lab/tree/{START_PAGE}?token={self.token}"
            time.sleep(0.05)
        raise LabError(
            f"JupyterLab did not answer within {START_TIMEOUT_S:.0f} s. Its last words: {self._tail()}"
        )

    def state(self) -> str:
        """Say whether the server runs, or how it ended."""
        code = self.process.poll()
        if code is None:
            return f"JupyterLab runs as process {self.process.pid}."
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"JupyterLab (process {self.process.pid}) has ended: {how}."

    def log(self) -> str:
        """Return everything that the server has written so far."""
        return (self.runtime / LOG_NAME).read_text(errors="replace")

    def _why_it_ended(self) -> str:
        if "already in use" in self.log():
            return "The port is taken by another program. Choose another with `--port`, or leave it out."
        return f"JupyterLab ended before it answered. Its last words: {self._tail()}"

    def _tail(self) -> str:
        lines = [line for line in self.log().splitlines() if line.strip()]
        return "\n".join(["", *lines[-12:]])


@contextlib.contextmanager
def jupyterlab(
    work: Path, *, ip: str = "127.0.0.1", port: int | None = None, options: Sequence[str] = ()
) -> Iterator[Lab]:
    """Start JupyterLab on a folder and end it, with its kernels, after the block.

    It comes up by itself meanwhile: `wait_for_address` says when and where.

    Args:
        work: Root folder of the file browser.
        ip: Address to listen on.
        port: Port to listen on; None takes 8888 or the next free one.
        options: More options of `jupyter lab`.
    """
    with tempfile.TemporaryDirectory(prefix="deskbook-lab-") as folder:
        runtime = Path(folder)
        token = secrets.token_urlsafe(24)
        with (runtime / LOG_NAME).open("wb") as output:
            process = subprocess.Popen(
                [*_command(work, ip, port), *options],
                env=_environment(work, runtime, token),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches us alone: Jupyter would ask "Shut down?"
                preexec_fn=end_with_parent(signal.SIGTERM),
            )
        try:
            yield Lab(process, runtime, token)
        finally:
            _stop(process)


def _command(work: Path, ip: str, port: int | None) -> list[str]:
    options = [
        f"--ServerApp.root_dir={work}",
        f"--ServerApp.ip={ip}",
        f"--LabApp.default_url=/lab/tree/{START_PAGE}",
        "--ServerApp.open_browser=False",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--ServerApp.allow_root={os.geteuid() == 0}",
    ]
    if port is not None:
        options += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    return [sys.executable, "-m", "deskbook.lab.jupyterlab_process", *options]


def _environment(work: Path, runtime: Path, token: str) -> dict[str, str]:
    paths = [str(_CONFIG), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    return os.environ | {
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, paths)),
        # Connection files of kernels go away with the lab.
        "JUPYTER_RUNTIME_DIR": str(runtime),
        # Open tabs come back with this folder. In the home folder, where JupyterLab keeps them for all
        # projects together, it would open those of another checkout and start their kernels.
        "JUPYTERLAB_WORKSPACES_DIR": str(work / ".jupyter" / "workspaces"),
        # A kernelspec `python3` in the home folder must not win over this environment's.
        "JUPYTER_PREFER_ENV_PATH": "1",
        # So that `deskbook` answers in a terminal of JupyterLab.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        # By environment, not by argument: arguments are visible to every user of the machine.
        "JUPYTER_TOKEN": token,
    }


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to end its kernels and itself; a second Ctrl-C must not leave them behind."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        server.terminate()
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()  # its kernels notice that their parent is gone
            server.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
