"""Passwords are guessed at: the one who does is stopped, and nobody else pays for it."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
from deskbook.desk import RunningApp, running_app
from deskbook.desk.database import PASSWORD
from deskbook.services import fresh_redis

from reference_app.identity.guesses import Guesses
from reference_app.identity.problems import TooManyGuesses
from reference_app.infra.http.rate_limits import COSTS

LIMIT = 3


@pytest.fixture
async def guarded() -> AsyncIterator[RunningApp]:
    """Give an app with Redis, where a name may be tried three times from an address."""
    async with fresh_redis() as redis, running_app(redis_url=redis, sign_in_limit=LIMIT) as desk:
        yield desk


async def sign_in(desk: RunningApp, name: str, password: str, address: str = "10.0.0.1") -> httpx.Response:
    form = {"grant_type": "password", "username": name, "password": password}
    transport = httpx.ASGITransport(_with_state(desk), client=(address, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
        return await client.post("/v1/tokens", data=form)


def _with_state(desk: RunningApp):  # type: ignore[no-untyped-def]
    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        await desk.app(scope | {"state": dict(desk.state)}, receive, send)

    return app


async def user(desk: RunningApp) -> str:
    name = f"u{uuid.uuid4().hex[:12]}"
    await desk.sign_in(name)
    return name


async def test_who_guesses_is_stopped_and_others_sign_in(guarded: RunningApp) -> None:
    victim, other = await user(guarded), await user(guarded)
    replies = await asyncio.gather(*(sign_in(guarded, victim, f"guess {n}") for n in range(10)))
    assert Counter(reply.status_code for reply in replies) == {400: LIMIT, 429: 10 - LIMIT}
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert refused.json()["type"] == "/problems/too-many-guesses"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    # The right password is refused as well, or guessing would go on.
    assert (await sign_in(guarded, victim, PASSWORD)).status_code == 429
    assert (await sign_in(guarded, other, PASSWORD)).status_code == 200, "another name at the same address"
    assert (await sign_in(guarded, victim, PASSWORD, "10.0.0.2")).status_code == 200, "the user, elsewhere"


async def test_a_name_has_a_limit_for_all_addresses(guarded: RunningApp) -> None:
    redis = guarded.state["redis"]
    assert redis is not None
    guesses = Guesses(redis, limit=LIMIT)

    async def is_counted(number: int) -> bool:
        try:
            await guesses.count("ada", f"10.1.{number}.1")
        except TooManyGuesses:
            return False
        return True

    seen = Counter(await asyncio.gather(*(is_counted(number) for number in range(40))))
    # One comes back every two seconds, should the machine be so slow.
    assert 10 * LIMIT <= seen[True] <= 10 * LIMIT + 5, seen
    await guesses.count("grace", "10.1.1.1")  # another name


async def test_a_sign_in_costs_as_much_as_many_reads() -> None:
    cost = COSTS["POST", "/v1/tokens"]
    async with fresh_redis() as redis, running_app(redis_url=redis, rate_limit=2 * cost + 30) as desk:
        seen = [(await sign_in(desk, f"somebody-{number}", "x")).status_code for number in range(4)]
        assert seen == [400, 400, 429, 429]
        assert (await sign_in(desk, "somebody", "x", "10.0.0.2")).status_code == 400
