"""Tell operators how the desk is, until SIGTERM: `python -m reference_app.operations`.

`/metrics` for Prometheus is on a port of its own, `DESK_OPERATIONS_PORT`, which only operators reach: there
is no token for it. It is a process of its own as well, since putting the figures together takes a tenth of a
second: in a web worker everybody else would wait for that.

Web workers write what they measure into the folder PROMETHEUS_MULTIPROC_DIR, which must be set, to the same
empty folder, before they and this process start. Without it there are the figures of the database alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily

from reference_app.infra.database.engine import Sessions
from reference_app.infra.http.bounded_protocol import BoundedProtocol
from reference_app.infra.process.background import run_process
from reference_app.infra.process.resources import Resources
from reference_app.infra.watch.metrics import FOLDER, exposition
from reference_app.orders.service import OperatorService
from reference_app.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """uvicorn, which leaves signals to `run_process`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def operate(resources: Resources) -> None:
    """Serve until cancelled.

    Raises:
        SettingsError: The port is taken, or the folder of the metrics is not there.
    """
    app = create_operations(resources["sessions"], _folder())
    with _listen(resources["settings"]) as listener:
        logger.info("metrics at http://%s:%d/metrics", *listener.getsockname()[:2])
        config = uvicorn.Config(
            app, http=BoundedProtocol, log_config=None, access_log=False, timeout_graceful_shutdown=2
        )
        server = _Server(config)
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await serving


def create_operations(sessions: Sessions, folder: Path | None) -> FastAPI:
    """Return the app of the second port.

    Args:
        sessions: The session factory of the process.
        folder: Where web workers write what they measure; None where they do not.
    """
    app = FastAPI(title="FastAPI Deskbook: operations", docs_url=None, redoc_url=None, openapi_url=None)
    # One scrape at a time: a second one finds nothing that the first has not told.
    turn = asyncio.Lock()

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        """Say that the process answers."""
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Tell what web workers have measured, and what waits in the database."""
        async with turn:
            figures = await _waiting(sessions)
            text = await asyncio.to_thread(exposition, folder, figures)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return app


async def _waiting(sessions: Sessions) -> list[GaugeMetricFamily]:
    """Return the figures to alert on; where the database is away, there is only that to tell."""
    operator = OperatorService(sessions)
    try:
        hanging, lag_s = len(await operator.hanging()), await operator.outbox_lag_s()
    except Exception:
        logger.warning("the database could not be asked", exc_info=True)
        return [GaugeMetricFamily("database_up", "Whether the database answers.", 0)]
    return [
        GaugeMetricFamily("database_up", "Whether the database answers.", 1),
        GaugeMetricFamily(
            "orders_hanging",
            "Active orders whose job has failed five times, or that have none.",
            hanging,
        ),
        GaugeMetricFamily("outbox_lag_seconds", "Age of the oldest event that is not told yet.", lag_s),
    ]


def _folder() -> Path | None:
    name = os.environ.get(FOLDER)
    if not name:
        logger.warning("%s is not set: what web workers measure is not told.", FOLDER)
        return None
    if not Path(name).is_dir():
        raise SettingsError(f"{FOLDER} is no folder: make it, and set it for the web workers too.")
    return Path(name)


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.operations_host, settings.operations_port
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise SettingsError(
            f"{host}:{port} cannot be used ({error.strerror}): set DESK_OPERATIONS_HOST or _PORT."
        ) from None


def main() -> None:
    """Tell how the desk is whose database DATABASE_URL names."""
    run_process("operations", operate)


if __name__ == "__main__":
    main()
