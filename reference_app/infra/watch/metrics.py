"""Metrics for Prometheus: rate, errors and duration of each route, and the lag of the event loop.

One registry an app and none that is global: two apps in one process do not mix. Web workers only write their
figures, into the folder PROMETHEUS_MULTIPROC_DIR where that is set to an empty one before the start, and the
process `operations` tells those of all of them, on a port that only operators reach. Those that ended are
included: a counter never goes back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
DURATIONS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LAGS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class Metrics:
    """The metrics of one app.

    Attributes:
        loop_lag: Takes what `LoopLag(observe=metrics.loop_lag.observe)` measures, in seconds.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._duration = Histogram(
            "http_request_duration_seconds",
            "Time to the last byte, by route and not by address: addresses have no end.",
            ["method", "route", "status"],
            registry=self.registry,
            buckets=DURATIONS_S,
        )
        self._running = Gauge(
            "http_requests_running",
            "Requests that are being answered.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.loop_lag = Histogram(
            "event_loop_lag_seconds",
            "How late the event loop is, ten times a second.",
            registry=self.registry,
            buckets=LAGS_S,
        )
        # Finding a child by its labels costs more than the observation.
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Return the app, observed; for `app.add_middleware`."""

        async def observed(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status, started_s = 500, time.perf_counter()

            async def send_noting(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            self._running.inc()
            try:
                await app(scope, receive, send_noting)
            finally:
                self._running.dec()
                self._observe(scope, status, time.perf_counter() - started_s)

        return observed

    def _observe(self, scope: Scope, status: int, duration_s: float) -> None:
        key = (scope["method"], _route(scope), status)
        child = self._children.get(key)
        if child is None:
            method, route, _ = key
            # The method is the client's word, and could be any.
            known = method if method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "other"
            child = self._duration.labels(known, route, str(status))
            if known == method:
                self._children[key] = child
        child.observe(duration_s)


def exposition(folder: Path | None, figures: Iterable[Metric] = ()) -> bytes:
    """Return the figures of all web workers as Prometheus reads them; it takes up to a tenth of a second.

    Args:
        folder: Where the workers write them; None where they do not.
        figures: Others, told beside them.
    """
    registry = CollectorRegistry()
    if folder is not None:
        _forget_the_dead(folder)
        MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    registry.register(_Figures(figures))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, figures: Iterable[Metric]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        return self._figures


def _forget_the_dead(folder: Path) -> None:
    """Take the gauges of workers that are gone out of the sum: a killed one never counts down."""
    for path in folder.glob("gauge_live*.db"):
        pid = int(path.stem.rsplit("_", 1)[1])
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):  # no process, or by now that of another user
            path.unlink(missing_ok=True)  # another process may tell the figures at the same moment


def _route(scope: Scope) -> str:
    """Return the template that matched, such as /v1/accounts/{account_id}."""
    # A route knows its path below its router; FastAPI puts where the router is included beside it.
    context = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return getattr(context, "path", None) or "none"
