"""Start and stop an application as a server does: the ASGI lifespan protocol, outside the explored region.

Source: asgi.readthedocs.io, "Lifespan Protocol".
"""

from __future__ import annotations

import asyncio
from typing import Any

from deskbook.races._errors import RaceError


class Lifespan:
    """The running lifespan of one application.

    Args:
        app: The ASGI application.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] | None = None

    @staticmethod
    def is_needed(app: Any) -> bool:
        """Tell whether there is something to start; an application of a kind that is not known is started."""
        router = getattr(app, "router", None)
        context = getattr(router, "lifespan_context", None)
        if context is None or type(context).__name__ != "_DefaultLifespan":
            return callable(app) and (context is not None or not hasattr(app, "router"))
        return bool(getattr(router, "on_startup", None) or getattr(router, "on_shutdown", None))

    async def start(self) -> None:
        """Run the startup and keep the task open.

        Raises:
            RaceError: If the application says that its startup failed.
        """
        loop = asyncio.get_running_loop()
        self._stop: asyncio.Future[None] = loop.create_future()
        self._started: asyncio.Future[str] = loop.create_future()
        self._asked = False
        self.state = {}
        self._task = loop.create_task(self._serve())
        problem = await self._started
        if problem:
            raise RaceError(f"the application did not start: {problem}")

    async def _serve(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as error:
            # An application without lifespan support raises; ASGI says to go on without it.
            if not self._asked or not self._started.done():
                self._tell("" if not self._asked else repr(error))
        else:
            self._tell("")

    async def _receive(self) -> dict[str, str]:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self._stop
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "lifespan.startup.complete":
            self._tell("")
        elif message["type"] == "lifespan.startup.failed":
            self._tell(message.get("message") or "no reason given")

    def _tell(self, problem: str) -> None:
        if not self._started.done():
            self._started.set_result(problem)

    async def stop(self) -> None:
        """Run the shutdown."""
        if self._task is not None and not self._task.done():
            self._stop.set_result(None)
            await self._task
