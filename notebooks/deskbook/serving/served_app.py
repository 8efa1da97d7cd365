"""Start a server process, know when it is ready, end it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, Self, cast

from deskbook.module_cells import module_folder
from deskbook.processes.fork_server import ForkServer
from deskbook.processes.forked_process import ForkedProcess, ForkServerError
from deskbook.processes.termination import kill_group, killed_after

REFERENCE_APP = "reference_app.app:create_app"
HOST = "127.0.0.1"
SERVER_PROCESS = "deskbook.serving.server_process"
#: What uvicorn imports when it starts to serve.
PROTOCOLS = (
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "uvicorn.lifespan.on",
    "anyio._backends._asyncio",
)
#: Seconds that a start may take on a busy machine, and that requests under way get at the end.
START_S = 30.0
GRACE_S = 3
LOG_LINES = 12

#: What every server imports; not the reference app and no module of a cell, which may change meanwhile.
_fork_server = ForkServer(SERVER_PROCESS, "fastapi", "uvicorn.loops.auto", *PROTOCOLS)

ServerProcess = subprocess.Popen[bytes] | ForkedProcess


class ServingError(Exception):
    """The server did not start, or ended by itself. The message says what to do, with the end of its log."""


def serving_app(
    app: str = REFERENCE_APP,
    *,
    workers: int = 1,
    loop: str = "auto",
    settings: Mapping[str, str] | None = None,
    port: int = 0,
    record: bool = False,
) -> ServedApp:
    """Serve an app behind a real uvicorn, for the length of an `async with` block or until `stop()`.

    Args:
        app: "module:name" of an ASGI app, or of a function without arguments that makes one. The module may
            be one that a cell wrote with `%%module`. Default: the reference app, on a fresh database with
            the real prices unless the settings name a DATABASE_URL.
        workers: Number of worker processes, as `uvicorn --workers`.
        loop: "uvloop", "asyncio" or "auto" (uvloop where it is installed), as `uvicorn --loop`.
        settings: Environment variables of the server, besides those of this process.
        port: 0 takes a free one.
        record: Let the server note when each request holds its event loop, for `trace`.
    """
    return ServedApp(app, workers, loop, dict(settings or {}), port, record)


class ServedApp:
    """An app behind uvicorn in a process of its own.

    Attributes:
        url: Where it answers, without a slash at the end.
        pid: Number of the process that `uvicorn` would be: the server, or with several workers their
            supervisor.
        settings: Environment variables of the server; DATABASE_URL among them when it runs.
    """

    def __init__(
        self, app: str, workers: int, loop: str, settings: dict[str, str], port: int, record: bool
    ) -> None:
        self._app = app
        self._workers = workers
        self._loop = loop
        self.settings = settings
        self._port = port
        self._record = record
        self._process: ServerProcess | None = None
        self._resources = contextlib.AsyncExitStack()
        self._killed = False
        self._last_log = ""
        self.url = ""
        self.pid = 0

    async def start(self) -> Self:
        """Start the server and return when the app is ready to answer.

        Raises:
            ServingError: The app failed to start, or the port is taken.
        """
        if self._process is not None:
            raise ServingError(f"{self._app} is being served already, at {self.url}.")
        if self._record and self._workers > 1:
            raise ServingError("Steps are recorded in one event loop: record=True needs workers=1.")
        try:
            if self._app == REFERENCE_APP and "DATABASE_URL" not in self.settings:
                await self._give_it_a_database()
            # A file without a name: it cannot be left behind. Closed by the exit stack.
            self._log = self._resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            self._process = self._spawn()
            status = await asyncio.to_thread(self._wait_for_status)
        except BaseException:
            await self._end()
            raise
        if "port" not in status:
            process = self._process
            await self._end()
            raise ServingError(
                status.get("failed")
                or f"{self._app} did not start (exit code {process.returncode}). "
                f"Its log ends with:\n{_tail(self._last_log)}"
            )
        self.url = f"http://{HOST}:{status['port']}"
        self.pid = self._process.pid
        return self

    async def stop(self) -> None:
        """Give requests under way a moment and end the server with everything it has started.

        Raises:
            ServingError: The server had ended by itself before.
        """
        process = self._process
        ended_alone = process is not None and not self._killed and process.poll() is not None
        log = self.log() if ended_alone else ""
        await self._end()
        if ended_alone and process is not None:
            raise ServingError(
                f"The server of {self._app} ended by itself, with exit code {process.returncode}. "
                f"Its log ends with:\n{_tail(log)}"
            )

    def kill(self) -> None:
        """End the server and its workers at once, as a crash of the machine would."""
        self._killed = True
        if self._process is not None:
            _kill_group(self._process)

    def log(self) -> str:
        """Return what the server has written to stdout and stderr so far."""
        if self._process is None:
            return self._last_log
        return os.pread(self._log.fileno(), 2**24, 0).decode(errors="replace")

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        except ServingError as ended:
            if error is None:
                raise
            error.add_note(str(ended))

    def __repr__(self) -> str:
        return f"<{self._app}: {'served' if self._process else 'not served'}>"

    async def _give_it_a_database(self) -> None:
        # Here and not above: the server process imports this module and has no use for the reference app.
        from deskbook.desk.database import TOKEN_SECRET, desk_template
        from deskbook.services import fresh_database

        url = await self._resources.enter_async_context(fresh_database(desk_template()))
        self.settings["DATABASE_URL"] = url
        self.settings.setdefault("DESK_TOKEN_SECRET", TOKEN_SECRET)
        self.settings.setdefault("DESK_SHUTDOWN_NOTICE_S", "0")  # there is no balancer to be warned

    def _spawn(self) -> ServerProcess:
        options = {"workers": self._workers, "loop": self._loop, "port": self._port, "grace_s": GRACE_S}
        folders = [str(module_folder()), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            **self.settings,
            "PYTHONPATH": os.pathsep.join(filter(None, folders)),
            "DESKBOOK_SERVED_APP": self._app,
            "DESKBOOK_SERVED_RECORD": "1" if self._record else "",
        }
        arguments = [json.dumps(options)]
        # Its own session: the interrupt of a cell goes to the kernel's whole process group and would end the
        # server as well. Its stdin is the lifeline: it ends when the other end, held here, is closed.
        if _fork_server.can_start(environment):
            log = cast(IO[bytes], self._log)
            # If uvicorn cannot even be imported, a fresh interpreter says why in the log.
            with contextlib.suppress(ForkServerError):
                return _fork_server.start(
                    f"{SERVER_PROCESS}:main", arguments, environment=environment, log=log
                )
        return subprocess.Popen(
            [sys.executable, "-P", "-m", SERVER_PROCESS, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            start_new_session=True,
        )

    def _wait_for_status(self) -> dict[str, Any]:
        """Return the line that the child writes when it is ready or knows that it never will be."""
        assert self._process is not None
        assert self._process.stdout is not None
        with killed_after(functools.partial(_kill_group, self._process), START_S):
            line = self._process.stdout.readline()
        return dict(json.loads(line)) if line else {}

    async def _end(self) -> None:
        if self._process is not None:
            await asyncio.to_thread(_end_process, self._process)
            self._last_log = self.log()
            self._process = None
        await self._resources.aclose()


def _end_process(process: ServerProcess) -> None:
    """Close the lifeline, wait for the end, and leave nothing of the process group."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S + 3)
    _kill_group(process)
    process.wait()


def _kill_group(process: ServerProcess) -> None:
    """Kill what is left: the server, its workers, and processes that the app started."""
    if isinstance(process, ForkedProcess):
        process.kill_group()
    elif hasattr(os, "killpg"):
        kill_group(process.pid)
    else:
        process.kill()


def _tail(log: str) -> str:
    return "\n".join(log.strip().splitlines()[-LOG_LINES:]) or "(it wrote nothing)"
