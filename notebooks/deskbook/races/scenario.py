"""What is explored: a subject and the requests that meet in it.

The subject is what `make_app` returns: an ASGI application, or any object that service functions work on. It
is made anew for every schedule, because an `asyncio.Lock` or a cache that lives on would carry one run into
the next. Making it is most of the cost of a short run, so a caller may pass `reset` instead; the explorer
then trusts that `reset` puts everything back, and says so in the report.
"""

from __future__ import annotations

import inspect
import sysconfig
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from . import asgi
from .errors import UnsupportedPython
from .http_request import Request
from .schedule import check_names

Check = Callable[..., Any]
Observe = Callable[[Any], Any]


class Scenario:
    """One question to the explorer.

    Args:
        make_app: returns the subject; may be a coroutine function.
        requests: name -> `Request`, or a function that returns an awaitable, called with the subject if it
            takes an argument.
        invariant: called with the subject and the responses after every run.
        observe: returns the state to compare and to show.
        reset: puts one subject back instead of making a new one for every run.
        send: "asgi" calls the application, "httpx" goes through an `httpx.AsyncClient`.
    """

    def __init__(
        self,
        make_app: Callable[[], Any],
        requests: Mapping[str, Any],
        *,
        invariant: Check | None = None,
        observe: Observe | None = None,
        reset: Check | None = None,
        send: str = "asgi",
    ) -> None:
        _refuse_free_threading()
        if not requests:
            raise ValueError("requests is empty: pass at least one, such as {'A': get('/')}")
        check_names(requests)
        self.make_app = make_app
        self.names = tuple(requests)
        self.requests = dict(requests)
        self.has_http = any(isinstance(value, Request) for value in requests.values())
        self.invariant = invariant
        self.observe = observe
        self.reset = reset
        self.reset_takes_app = reset is not None and takes_an_argument(reset)
        self._call = {"asgi": asgi.call_raw, "httpx": asgi.call_httpx}[send]
        self._starters = {name: self._starter(value) for name, value in requests.items()}

    def _starter(self, value: Any) -> Callable[[Any, Any], Awaitable[Any]]:
        if isinstance(value, Request):
            template = asgi.RequestTemplate(value)
            return lambda app, state: self._call(app, template, state)
        if not callable(value):
            raise TypeError(f"a request must be made with get(), post(), ... or be a function, not {value!r}")
        if takes_an_argument(value):
            return lambda app, state: value(app)
        return lambda app, state: value()

    def start(self, name: str, app: Any, state: dict[str, Any] | None) -> Awaitable[Any]:
        """Return the awaitable of one request."""
        return self._starters[name](app, state)


def _refuse_free_threading() -> None:
    """Refuse a Python whose threads run at the same moment: a proof by switches between lines is none there.

    Raises:
        UnsupportedPython: on a free-threaded build.
    """
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise UnsupportedPython(
            "this is a free-threaded Python: its threads run at the same moment, within a line too, so no "
            "search could prove anything here; explore with the usual build of the same version"
        )


def takes_an_argument(function: Callable[..., Any]) -> bool:
    """Tell whether a function must be given the subject."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty for p in parameters
    )
