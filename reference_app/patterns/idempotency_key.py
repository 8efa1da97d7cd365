# /// script
# requires-python = ">=3.11"
# dependencies = ["asyncpg>=0.30", "sqlalchemy[asyncio]>=2.1"]
# ///
r"""One Idempotency-Key, one effect: key, effect and reply are committed together.

Use it on POST and PATCH that move money or make things: a client whose reply was lost cannot know whether to
send again. A crash at any step leaves nothing (the retry runs) or everything (the retry gets the stored
reply): it is one transaction.

Do not use it on GET, PUT and DELETE, which are idempotent by their meaning.

Limits: only effects in this database count; calls to other services belong into `outbox`. A request in
progress holds a connection. A reply is stored as it is: none with secrets. A key is forgotten after
`keep_for_s`: publish that, and `purge` now and then.

Instead: `asgi-idempotency-header` stores replies of any ASGI app in Redis, after the effect: a crash between
them doubles it; a key is bound to no user and no body.

Example:
    >>> import asyncio, types
    >>> class Session:  # stands for a session on a database where this request was committed before
    ...     async def __aenter__(self):
    ...         return self
    ...     async def __aexit__(self, *error):
    ...         pass
    ...     async def scalar(self, statement, values):
    ...         return True
    ...     async def execute(self, statement, values):
    ...         return self
    ...     def one_or_none(self):
    ...         same = fingerprint("POST", "/orders", b"{}")
    ...         return types.SimpleNamespace(fingerprint=same, status=201, headers="{}", body=b"order 7")
    >>> keys = IdempotencyKeys(types.SimpleNamespace(begin=Session))
    >>> asyncio.run(keys.run("ann", parse_key(['"8e03978e"']), fingerprint("POST", "/orders", b"{}"), None))
    Reply(status=201, body=b'order 7', headers={}, replayed=True)

Source: draft-ietf-httpapi-idempotency-key-header-07; brandur.org/idempotency-keys (B. Leach, 2017).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

MAX_BODY_BYTES = 65_536
MAX_KEEP_FOR_S = 10 * 366 * 86_400

#: Your migrations create this table and this index.
TABLE = """CREATE TABLE idempotency_keys (
    owner text, key text, fingerprint bytea NOT NULL, status int NOT NULL, headers text NOT NULL,
    body bytea NOT NULL, expires_at timestamptz NOT NULL, PRIMARY KEY (owner, key))"""
INDEX = "CREATE INDEX ON idempotency_keys (expires_at)"

_LOCK = text("SELECT pg_try_advisory_xact_lock(:lock_id)")
_FIND = text("SELECT * FROM idempotency_keys WHERE owner = :owner AND key = :key AND expires_at > now()")
# The row of a key whose time is up may still be there, so it is replaced.
_STORE = text("""INSERT INTO idempotency_keys VALUES
    (:owner, :key, :fingerprint, :status, :headers, :body, now() + make_interval(secs => :keep_for_s))
ON CONFLICT (owner, key) DO UPDATE SET (fingerprint, status, headers, body, expires_at) =
    (SELECT EXCLUDED.fingerprint, EXCLUDED.status, EXCLUDED.headers, EXCLUDED.body, EXCLUDED.expires_at)""")
_PURGE = text("""WITH old AS MATERIALIZED (
    SELECT owner, key FROM idempotency_keys WHERE expires_at <= now() LIMIT :limit FOR UPDATE SKIP LOCKED)
DELETE FROM idempotency_keys k USING old WHERE k.owner = old.owner AND k.key = old.key RETURNING k.key""")


class IdempotencyError(Exception):
    """Nothing was done.

    Attributes:
        status: 400 no usable key, 409 the request is in progress, 422 the key is used.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Reply:
    """What the client gets.

    Attributes:
        status: 4xx: the work refused, its effects are undone. 5xx: undone, and not stored.
        body: At most `MAX_BODY_BYTES`.
        headers: Stored with the body.
        replayed: Whether it was given before.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    replayed: bool = False


Work = Callable[[AsyncSession], Awaitable[Reply]]
Sessions = async_sessionmaker[AsyncSession]


def parse_key(values: Sequence[str]) -> str:
    """Return the key of a request's Idempotency-Key fields: quoted by the draft, bare by most clients.

    Raises:
        IdempotencyError: There is not exactly one, or it cannot be read.
    """
    pattern = r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"|([\w.:~-]{1,255})'
    match = re.fullmatch(pattern, values[0], re.ASCII) if len(values) == 1 else None
    if match is None:
        raise IdempotencyError(400, 'send one Idempotency-Key, such as "8e03978e-40d5-43e8"')
    return match[1] or match[2]


def fingerprint(*parts: str | bytes) -> bytes:
    """Return what tells requests apart, from the method, the target with its query, and the raw body."""
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    # With its length, or ("ab", "c") and ("a", "bc") would be the same request.
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in raw)).digest()


class IdempotencyKeys:
    """Runs each request once.

    Args:
        sessions: Makes a unit of work for each request.
        keep_for_s: Seconds after which a key is forgotten, ten years at most.
        keep_refusals: Store 4xx replies as well. Without it the work raises to refuse, which saves a
            savepoint.

    Attributes:
        executed: How many requests did their work.
        replayed: How many got the reply of an earlier one.
        outstanding: How many came while an earlier one was in progress.
        reused: How many came with the key of another request.

    Raises:
        ValueError: `keep_for_s` is out of its range.
    """

    def __init__(self, sessions: Sessions, *, keep_for_s: float = 86_400, keep_refusals: bool = True) -> None:
        if not 0 <= keep_for_s <= MAX_KEEP_FOR_S:
            raise ValueError(f"keep_for_s must be 0 to {MAX_KEEP_FOR_S}")
        self.executed = self.replayed = self.outstanding = self.reused = 0
        self._sessions = sessions
        self._keep_for_s = keep_for_s
        self._keep_refusals = keep_refusals

    async def run(self, owner: str, key: str, sent: bytes, work: Work) -> Reply:
        """Do the work and commit, or return the reply that it gave before.

        Args:
            owner: Who asks: the same key of another user is another key.
            key: From `parse_key`.
            sent: From `fingerprint`.
            work: Writes in the session that it is given. If it raises, nothing is kept, the key is unused.

        Raises:
            IdempotencyError: The same request is in progress, or the key belongs to another request.
            ValueError: The reply is too large, or a refusal although refusals are not kept; nothing is kept.
        """
        names = {"owner": owner, "key": key}
        lock_id = int.from_bytes(fingerprint("idempotency_key", owner, key)[:8], "big", signed=True)
        async with self._sessions.begin() as session:
            # Without the lock, two copies of a request both find no reply and both do the work. It ends with
            # the transaction, also when the process dies. A hash collision costs a needless 409.
            if not await session.scalar(_LOCK, {"lock_id": lock_id}):
                self.outstanding += 1
                raise IdempotencyError(409, "a request with this Idempotency-Key is in progress; try again")
            stored = (await session.execute(_FIND, names)).one_or_none()
            if stored is None:
                reply = await self._work(session, work)
                if reply.status < 500:
                    await self._store(session, names, sent, reply)
            elif stored.fingerprint != sent:
                self.reused += 1
                raise IdempotencyError(422, "this Idempotency-Key belongs to another request; take a new one")
            else:
                self.replayed += 1
                return Reply(stored.status, stored.body, json.loads(stored.headers), replayed=True)
        self.executed += 1
        return reply

    async def purge(self, limit: int = 1000) -> int:
        """Delete at most `limit` replies that are past their time; return how many."""
        async with self._sessions.begin() as session:
            return len((await session.execute(_PURGE, {"limit": limit})).all())

    async def _work(self, session: AsyncSession, work: Work) -> Reply:
        if not self._keep_refusals:
            reply = await work(session)
            if reply.status >= 400:
                raise ValueError("without keep_refusals, raise to refuse")
            return reply
        effects = await session.begin_nested()
        reply = await work(session)
        if reply.status < 400:
            await effects.commit()
        else:
            await effects.rollback()
        return reply

    async def _store(self, session: AsyncSession, names: dict[str, str], sent: bytes, reply: Reply) -> None:
        if len(reply.body) > MAX_BODY_BYTES:
            raise ValueError(f"the reply has {len(reply.body)} bytes, at most {MAX_BODY_BYTES} are stored")
        row = {"status": reply.status, "headers": json.dumps(dict(reply.headers)), "body": reply.body}
        await session.execute(_STORE, {**names, **row, "fingerprint": sent, "keep_for_s": self._keep_for_s})
