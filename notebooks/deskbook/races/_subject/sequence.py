"""Several requests of one client, one after the other: log in, then buy with the token that was answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from deskbook.races._subject import asgi
from deskbook.races._subject.http_request import Request

#: A request, or a function that makes one of the answers so far.
Next = Request | Callable[[list[httpx.Response]], Request]

Send = Callable[[Any, asgi.RequestTemplate, dict[str, Any] | None], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Sequence:
    """Requests that one client sends one after the other.

    Attributes:
        steps: The requests, or functions of the answers so far that return one.
    """

    steps: tuple[Next, ...]

    def __str__(self) -> str:
        return ", then ".join(str(step) if isinstance(step, Request) else "a request" for step in self.steps)

    async def run(self, app: Any, state: dict[str, Any] | None, send: Send) -> list[httpx.Response]:
        """Send them, keeping cookies as a browser does; return the answers in their order.

        Args:
            app: The application.
            state: What its lifespan handed on, or None.
            send: Sends one request.
        """
        answers: list[httpx.Response] = []
        cookies = httpx.Cookies()
        for step in self.steps:
            if answers:
                await asgi.framework_pause()
            request = step if isinstance(step, Request) else step(list(answers))
            answer = await send(app, asgi.RequestTemplate(_with_cookies(request, cookies)), state)
            cookies.extract_cookies(answer)
            answers.append(answer)
        return answers


def in_sequence(first: Request, *then: Next) -> Sequence:
    """Describe a client that sends several requests one after the other.

    Args:
        first: The first request.
        *then: What follows: a request, or a function that is given the list of the answers so far.

    Returns:
        A request for `explore`. Its answer is the list of all answers.

    Example:
        in_sequence(
            post("/login", json={"name": "ada"}),
            lambda answers: post("/buy", headers={"Authorization": f"Bearer {answers[0].json()['token']}"}),
        )
    """
    return Sequence((first, *then))


def _with_cookies(request: Request, cookies: httpx.Cookies) -> Request:
    if not cookies or "cookies" in request.options:
        return request
    options = {**request.options, "cookies": cookies}
    return Request(request.method, request.path, options, request.leave_after)
