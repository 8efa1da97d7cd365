"""The server process: uvicorn as on a server, with two additions.

It says on stdout that it is ready, and it ends when its stdin ends, which happens when whoever started it
closes the pipe or dies, however it dies.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import json
import multiprocessing
import multiprocessing.connection
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

import uvicorn
from starlette.types import ASGIApp
from uvicorn.importer import import_from_string
from uvicorn.supervisors.multiprocess import Multiprocess

from deskbook.processes.lifeline import end_with_stdin
from reference_app.infra.http.bounded_protocol import BoundedProtocol

#: Seconds a worker may take to start on a busy machine.
WORKER_START_S = 25.0


def load_app() -> ASGIApp:
    """Return the app that DESKBOOK_SERVED_APP names (uvicorn calls this in each worker)."""
    if multiprocessing.parent_process() is not None:
        _end_with_supervisor()
    app = import_from_string(os.environ["DESKBOOK_SERVED_APP"])
    if not _takes_scope(app):
        app = app()
    if os.environ.get("DESKBOOK_SERVED_RECORD"):
        from deskbook.serving.step_recorder import StepRecorder, note_threads

        note_threads()
        return StepRecorder(app)
    return app  # type: ignore[no-any-return]


def _takes_scope(app: Any) -> bool:
    """Say whether this is an ASGI app; a function without arguments makes one."""
    function = app if hasattr(app, "__code__") else type(app).__call__
    return function.__code__.co_argcount >= 3 if hasattr(function, "__code__") else True


def _end_with_supervisor() -> None:
    """End this worker when its supervisor is killed: nobody else would."""
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None

    def watch() -> None:
        multiprocessing.connection.wait([supervisor.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with supervisor").start()


class AnnouncedServer(uvicorn.Server):
    """A server that says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does; the socket listens when this returns."""
        await super().startup(sockets)
        if self.started:
            self._ready()


class AnnouncedSupervisor(Multiprocess):
    """uvicorn's supervisor of several workers, which says when all of them answer."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], ready: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets)
        self._ready = ready

    def init_processes(self) -> None:
        """Start the workers and wait for each; a worker that fails is left to the supervisor's own rules."""
        super().init_processes()
        if all(process.wait_until_ready(WORKER_START_S) for process in self.processes):
            self._ready()


def main() -> None:
    """Serve until stdin ends or a signal comes."""
    # Without it the interpreter looks through every object once more on its way out: 0.13 s of each stop.
    atexit.register(gc.freeze)
    options = json.loads(sys.argv[1])
    status = _take_over_stdout()
    config = uvicorn.Config(
        "deskbook.serving.server_process:load_app",
        factory=True,
        workers=options["workers"],
        loop=options["loop"],
        http=BoundedProtocol,
        access_log=False,
        use_colors=False,
        timeout_graceful_shutdown=options["grace_s"],
    )
    listener = _bind(options["port"], status)
    port = listener.getsockname()[1]

    def ready() -> None:
        _say(status, {"port": port})

    patience_s = options["grace_s"] + 2
    if options["workers"] == 1:
        server = AnnouncedServer(config, ready)
        end_with_stdin(lambda: setattr(server, "should_exit", True), patience_s=patience_s)
        server.run(sockets=[listener])
    else:
        supervisor = AnnouncedSupervisor(config, [listener], ready)
        end_with_stdin(supervisor.should_exit.set, patience_s=patience_s)
        supervisor.run()


def _take_over_stdout() -> TextIO:
    """Keep stdout for the status, and let what the app prints go to the log, which is stderr."""
    status = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return status


def _say(status: TextIO, what: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        status.write(json.dumps(what) + "\n")
        status.flush()


def _bind(port: int, status: TextIO) -> socket.socket:
    """Return a bound socket that does not listen yet: a connection is refused until the app is ready."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if port:  # a fixed port may have old connections in TIME_WAIT; with port 0 this could give a taken one
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        reason = "is taken by another program" if error.errno == errno.EADDRINUSE else f"is refused: {error}"
        advice = "Leave `port` out to get a free one, or stop what uses it."
        _say(status, {"failed": f"Port {port} {reason}. {advice}"})
        sys.exit(1)
    return listener


if __name__ == "__main__":
    main()
