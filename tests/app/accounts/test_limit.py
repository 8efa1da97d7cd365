"""A user has at most so many accounts, in every order of the statements of two requests."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from deskbook.desk import RunningApp, running_app
from deskbook.desk.database import desk_template
from deskbook.races import Report, SQLAlchemyGate, explore
from deskbook.services import fresh_database
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from reference_app.accounts.problems import TooManyAccounts
from reference_app.accounts.service import AccountService
from reference_app.infra.database.engine import create_sessions
from reference_app.infra.database.once import Once
from reference_app.patterns.idempotency_key import Reply
from reference_app.patterns.serializable_retry import SerializableRetry
from reference_app.settings import normalise_database_url

LIMIT = 2


@pytest.fixture(scope="module")
async def small_desk() -> AsyncIterator[RunningApp]:
    async with running_app(max_accounts=LIMIT) as running:
        yield running


async def test_the_next_one_is_refused_and_says_how_many_there_may_be(small_desk: RunningApp) -> None:
    replies = [await small_desk.client.post("/v1/accounts", json={"name": "Cash"}) for _ in range(LIMIT + 1)]
    assert [reply.status_code for reply in replies] == [201] * LIMIT + [409]
    problem = replies[-1].json()
    assert problem["type"] == "/problems/too-many-accounts"
    assert f"{LIMIT} accounts" in problem["detail"]
    assert len((await small_desk.client.get("/v1/accounts")).json()["items"]) == LIMIT


class CountsAndAdds(SerializableRetry):
    """What most services do: the same work in a transaction as they come, READ COMMITTED."""

    async def _once(self, work: Callable[[AsyncSession], Awaitable[Any]]) -> Any:
        async with self._sessions.begin() as session:
            return await work(session)


async def open_the_last_one_twice(engine: AsyncEngine, transactions: type[SerializableRetry]) -> Report:
    """Let two requests of a user who has all accounts but one open another."""
    sessions, owner_id = create_sessions(engine), uuid.uuid4()

    async def opened(service: AccountService, name: str) -> Reply:
        return await service.open(owner_id, name, Once(None, b"", lambda account: Reply(201, b"")))

    async def user_with_one_left() -> AccountService:
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM accounts WHERE kind = 'cash'"))
            await connection.execute(
                text(
                    "INSERT INTO users (id, name, password_hash, scopes) VALUES (:id, :name, 'x', '{}') "
                    "ON CONFLICT DO NOTHING"
                ),
                {"id": owner_id, "name": f"u{owner_id.hex[:20]}"},
            )
        retry = transactions(sessions, first_wait_s=0)
        service = AccountService(sessions, retry, LIMIT)
        await opened(service, "the first")
        return service

    async def one_is_opened(service: AccountService, replies: dict[str, Any]) -> None:
        refused = [reply for reply in replies.values() if isinstance(reply, TooManyAccounts)]
        accounts = (await service.accounts(owner_id, None, 10)).items
        assert (len(refused), len(accounts)) == (1, LIMIT)

    return await explore(
        user_with_one_left,
        {"A": lambda service: opened(service, "A"), "B": lambda service: opened(service, "B")},
        invariant=one_is_opened,
        gate=SQLAlchemyGate(engine),
        max_seconds=60,
    )


@pytest.fixture
async def engine() -> AsyncIterator[AsyncEngine]:
    async with fresh_database(desk_template()) as url:
        engine = create_async_engine(normalise_database_url(url), pool_size=4)
        yield engine
        await engine.dispose()


async def test_two_requests_never_open_one_too_many(engine: AsyncEngine) -> None:
    report = await open_the_last_one_twice(engine, SerializableRetry)
    assert report.verdict == "exhausted", report


async def test_without_serializable_both_count_and_both_add(engine: AsyncEngine) -> None:
    report = await open_the_last_one_twice(engine, CountsAndAdds)
    assert report.verdict == "counterexample", report
