"""A sandbox for servers: a directory for temporary files of its own, which must be empty at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

DEADLINE_S = 20.0

#: A client: gets the services named, says where they are, then obeys lines on its standard input.
CLIENT = """
import json, os, sys
from deskbook.services import ServicesError, ensure
def say(**what): print(json.dumps(what), flush=True)
def services(*names):
    found = ensure(*names)
    for service in (found.postgres, found.redis):
        if service: say(name=service.name, url=service.url, version=service.version, origin=service.origin)
"""


class Client:
    """A process that uses the services; lines of JSON come from it, closing its input ends it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the client ended: {self.process.stderr.read() if self.process.stderr else ''}"
        heard: dict[str, Any] = json.loads(line)
        return heard

    def tell(self, line: str = "go") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self) -> str:
        """Close its input, wait for its end and return what it wrote to standard error."""
        _, error = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0, error
        return error

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)


class Sandbox:
    """Servers that are started with TMPDIR in `folder` belong to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}
        }
        self.environment |= {"TMPDIR": str(folder), "DESKBOOK_SERVICES_GRACE_S": "0.1"}
        self.clients: list[Client] = []

    def start(self, code: str, **options: Any) -> Client:
        process = subprocess.Popen(
            [options.pop("python", sys.executable), "-W", "error", "-c", CLIENT + code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"env": self.environment, "cwd": "/", **options},
        )
        client = Client(process)
        self.clients.append(client)
        return client

    def processes(self, kind: str = "") -> list[psutil.Process]:
        """Return living processes of the sandbox: "supervisor", "postgres", "valkey", or all of them."""
        found = {}
        for process in psutil.process_iter(["cmdline", "status", "pid", "ppid"]):
            command = " ".join(process.info["cmdline"] or [])
            ours = str(self.folder) in command and process.info["status"] != psutil.STATUS_ZOMBIE
            is_client = process.info["pid"] in {client.pid for client in self.clients}
            if ours and not is_client and self.kind_of(command).startswith(kind):
                found[process.info["pid"]] = process, self.kind_of(command)
        # A child PostgreSQL has just forked still carries its parent's command line.
        same_as_parent = {
            pid
            for pid, (process, of_kind) in found.items()
            if found.get(process.info["ppid"], (0, 0))[1] == of_kind
        }
        return [process for pid, (process, _) in found.items() if pid not in same_as_parent]

    @staticmethod
    def kind_of(command: str) -> str:
        if "deskbook.services.supervisor" in command:
            return "supervisor"
        return "valkey" if "valkey-server" in command else "postgres" if "postgres" in command else "other"

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.iterdir())

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {DEADLINE_S:.0f} s: {what}; {self}"
            time.sleep(0.02)

    def wait_until_gone(self) -> None:
        """Wait until no process and no file is left."""
        self.wait_until(lambda: not self.files() and not self.processes(), "nothing is left")

    def __repr__(self) -> str:
        return f"{self.files()} {[process.cmdline() for process in self.processes()]}"

    def close(self) -> None:
        for client in self.clients:
            if client.process.poll() is None:
                client.kill()
            for pipe in (client.process.stdin, client.process.stdout, client.process.stderr):
                if pipe is not None and not pipe.closed:
                    pipe.close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox; the test fails if it leaves a process or a file behind."""
    folder = Path(tempfile.mkdtemp(prefix="svc-", dir="/tmp")).resolve()
    folder.chmod(0o711)
    box = Sandbox(folder)
    try:
        yield box
        box.close()
        box.wait_until_gone()
    finally:
        box.close()
        for process in box.processes():
            process.send_signal(signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
