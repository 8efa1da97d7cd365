"""A request with an Idempotency-Key: what it does and what it answers are one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.infra.database.engine import Sessions
from reference_app.patterns.idempotency_key import IdempotencyKeys, Reply
from reference_app.patterns.serializable_retry import SerializableRetry

Done = TypeVar("Done")
Work = Callable[[AsyncSession], Awaitable[Done]]


@dataclass(frozen=True, slots=True)
class Once(Generic[Done]):
    """A request that has one effect, however often it is sent with its key.

    Attributes:
        key: The idempotency key; None where the client sent none: then each request has its own effect.
        sent: The fingerprint of the request: the same key with another one is refused.
        render: Makes the reply, inside the transaction: it is stored with the effect, so that a repeated
            request gets the same one.
    """

    key: str | None
    sent: bytes
    render: Callable[[Done], Reply]


async def run_once(sessions: Sessions, owner: str, once: Once[Done], work: Work[Done]) -> Reply:
    """Do the work in a transaction and commit, or return the reply that this key got before.

    Args:
        sessions: The session factory of the process.
        owner: Who asks: the same key of another user is another key.
        once: The key and the reply.
        work: Writes in the session that it is given. If it raises, nothing is kept, the key is unused.

    Raises:
        IdempotencyError: The same request is in progress, or the key belongs to another request.
    """

    async def reply(session: AsyncSession) -> Reply:
        return once.render(await work(session))

    if once.key is None:
        async with sessions.begin() as session:
            return await reply(session)
    return await IdempotencyKeys(sessions, keep_refusals=False).run(owner, once.key, once.sent, reply)


async def run_serializable_once(
    serializable: SerializableRetry, owner: str, once: Once[Done], work: Work[Done]
) -> Reply:
    """Do the same as `run_once` in a SERIALIZABLE transaction, which is run again after a conflict.

    Raises:
        IdempotencyError: The same request is in progress, or the key belongs to another request.
        RetriesExhausted: Every try met a conflict.
    """

    async def attempt(session: AsyncSession) -> Reply:
        return await run_once(cast(Sessions, _OpenTransaction(session)), owner, once, work)

    # The snapshot is older than the lock of the key: a reply that was stored between them is not seen, and
    # storing another one conflicts. The next try sees it.
    return await serializable(attempt)


class _OpenTransaction:
    """Stands for a session factory whose one transaction is open; who opened it commits."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        yield self._session
