"""What is explored: a subject and the requests that meet in it.

The subject is what `make_app` returns: an ASGI application, or any object that service functions work on. It
is made anew for every schedule, because an `asyncio.Lock` or a cache that lives on would carry one run into
the next. Making it is most of the cost of a short run, so a caller may pass `reset` instead; the explorer
then trusts that `reset` puts everything back, and says so in the report.
"""

from __future__ import annotations

import contextlib
import inspect
import sysconfig
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any

from deskbook.races import _frames as frames
from deskbook.races._errors import NotStarted, UnsupportedPython
from deskbook.races._schedule import check_names
from deskbook.races._subject import asgi
from deskbook.races._subject.http_request import Request
from deskbook.races._subject.lifespan import Lifespan
from deskbook.races._subject.sequence import Sequence as RequestSequence
from deskbook.races._subject.websocket import Connection, WebSocket

Check = Callable[..., Any]
Observe = Callable[[Any], Any]


class Scenario:
    """One question to the explorer.

    Args:
        make_app: Returns the subject; may be a coroutine function.
        requests: Name -> `Request`, or a function that returns an awaitable, called with the subject if it
            takes an argument.
        invariant: Called with the subject and the responses after every run.
        observe: Returns the state to compare and to show.
        reset: Puts one subject back instead of making a new one for every run.
        send: "asgi" calls the application, "httpx" goes through an `httpx.AsyncClient`.
        setup: Requests that are sent before every run, outside of the explored region.
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
        setup: Sequence[Any] = (),
    ) -> None:
        _refuse_free_threading()
        if not requests:
            raise ValueError("requests is empty: pass at least one, such as {'A': get('/')}")
        check_names(requests)
        is_application = hasattr(make_app, "router") and callable(make_app)
        self.make_app: Callable[[], Any] = (lambda: make_app) if is_application else make_app
        self.setup = tuple(setup)
        self.names = tuple(requests)
        self.requests = dict(requests)
        described = (Request, RequestSequence, WebSocket)
        self.has_http = any(isinstance(value, described) for value in requests.values())
        self._has_functions = any(not isinstance(value, described) for value in requests.values())
        self.invariant = invariant
        self.observe = observe
        self.reset = reset
        self.reset_takes_app = reset is not None and takes_an_argument(reset)
        self._call = {"asgi": asgi.call_raw, "httpx": asgi.call_httpx}[send]
        self._templates: dict[str, asgi.RequestTemplate] = {}
        self._connections: dict[str, Connection] = {}
        self._starters = {name: self._starter(name, value) for name, value in requests.items()}

    def _starter(self, name: str, value: Any) -> Callable[[Any, Any], Awaitable[Any]]:
        if isinstance(value, Request):
            template = self._templates[name] = asgi.RequestTemplate(value)
            return lambda app, state: self._call(app, template, state)
        if isinstance(value, RequestSequence):
            return lambda app, state: value.run(app, state, self._call)
        if isinstance(value, WebSocket):
            return lambda app, state: self._connect(name, value, app, state)
        if not callable(value):
            raise TypeError(f"a request must be made with get(), post(), ... or be a function, not {value!r}")
        if takes_an_argument(value):
            return lambda app, state: value(app)
        return lambda app, state: value()

    def _connect(self, name: str, client: WebSocket, app: Any, state: Any) -> Awaitable[Any]:
        connection = self._connections[name] = Connection(client)
        return connection.call(app, state)

    async def set_up(self, app: Any, state: dict[str, Any] | None) -> None:
        """Send the requests that come before every run.

        Raises:
            NotStarted: If one of them is refused.
        """
        for number, step in enumerate(self.setup, start=1):
            steps = step if isinstance(step, RequestSequence) else RequestSequence((step,))
            for answer in await steps.run(app, state, asgi.call_raw):
                if answer.status_code >= 400:
                    raise NotStarted(
                        f"request {number} of the set-up was answered {answer.status_code} "
                        f"{answer.text[:200]}. Nothing was explored"
                    )

    def start(self, name: str, app: Any, state: dict[str, Any] | None) -> Coroutine[Any, Any, Any]:
        """Return the coroutine of one request.

        Args:
            name: The request.
            app: The subject of the run.
            state: What the lifespan of an application handed on, or None without one.
        """
        self._connections.pop(name, None)
        if name in self._templates:
            self._templates[name].under_way = None
        return as_coroutine(self._starters[name](app, state))

    def open_streams(self, name: str) -> list[asgi.Stream]:
        """Return the streams of events that a request still reads."""
        stream: asgi.Stream | None = self._connections.get(name)
        if name in self._templates:
            stream = self._templates[name].under_way
        return [stream] if stream is not None and stream.is_open_stream else []

    def check_cancellable(self, names: Iterable[str]) -> None:
        """Refuse to cancel what is not one of the requests.

        Raises:
            ValueError: With the name that is not known.
        """
        for name in names:
            if name not in self.names:
                raise ValueError(
                    f"cancel names {name!r}, which is not one of the requests {list(self.names)}"
                )

    def lifespan_of(self, app: Any) -> Lifespan | None:
        """Return the lifespan that must be started before the requests, or None if there is none."""
        is_application = self.has_http or (callable(app) and hasattr(app, "router"))
        return Lifespan(app) if is_application and Lifespan.is_needed(app) else None

    def check_subject(self, app: Any) -> None:
        """Refuse what cannot answer a request.

        Raises:
            NotStarted: Saying what `make_app` must return.
        """
        if self.has_http and not callable(app):
            name = getattr(self.make_app, "__name__", "make_app")
            shown = "None" if app is None else type(app).__name__
            raise NotStarted(
                f"{name} returned {shown}, which is no ASGI application: return the FastAPI object. "
                f"Nothing was explored"
            )

    def hand_on(self, app: Any, state: dict[str, Any] | None) -> None:
        """Give the state of the lifespan to requests that a function sends by itself, as a server would.

        `httpx.ASGITransport(app=app)` calls the application without it.
        """
        stack = getattr(app, "middleware_stack", None)
        if state and stack is not None and not isinstance(stack, _WithState) and self._has_functions:
            app.middleware_stack = _WithState(stack, state)

    @property
    def titles(self) -> dict[str, str]:
        """Name -> what the request is, such as "POST /withdraw"."""
        return {name: _title(request) for name, request in self.requests.items()}


class _WithState:
    """The middleware of an application, called with the state of its lifespan.

    Args:
        app: The middleware.
        state: What the lifespan handed on.
    """

    def __init__(self, app: asgi.App, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", dict(self._state))
        await self._app(scope, receive, send)


def _refuse_free_threading() -> None:
    """Refuse a Python whose threads run at the same moment: a proof by switches between lines is none there.

    Raises:
        UnsupportedPython: On a free-threaded build.
    """
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise UnsupportedPython(
            "this is a free-threaded Python: its threads run at the same moment, within a line too, so no "
            "search could prove anything here; explore with the usual build of the same version"
        )


@contextlib.contextmanager
def around_the_requests(what: str) -> Iterator[None]:
    """Say what failed that is no request, in place of a traceback.

    Args:
        what: What is done, such as "make_app".

    Raises:
        NotStarted: With the error and the line of the service.
    """
    try:
        yield
    except NotStarted:
        raise
    except Exception as error:
        line = _line_of(error)
        where = f" at «{line}»" if line else ""
        reason = f"{type(error).__name__}: {error}"
        raise NotStarted(f"{what} failed{where}: {reason}. Nothing was explored") from error


def _line_of(error: BaseException) -> str:
    """Return the innermost line of the service in a traceback, or ""."""
    line, trace = "", error.__traceback__
    while trace is not None:
        if frames.is_shown(trace.tb_frame.f_code.co_filename):
            line = frames.source_line(trace.tb_frame.f_code, trace.tb_lineno)
        trace = trace.tb_next
    return line


def takes_an_argument(function: Callable[..., Any]) -> bool:
    """Tell whether a function must be given the subject."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty for p in parameters
    )


def as_coroutine(awaitable: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    """Return an awaitable as something that a task can be made of."""
    return awaitable if inspect.iscoroutine(awaitable) else _await(awaitable)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _title(request: Any) -> str:
    if isinstance(request, (Request, RequestSequence, WebSocket)):
        return str(request)
    name = getattr(request, "__name__", "")
    return "" if name == "<lambda>" else name
