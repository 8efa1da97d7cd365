"""The tables of the patterns that the desk uses; a pattern and its table are for all nouns.

A pattern brings the statements for its table, and its docstring shows how to make it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from reference_app.infra.database.base import Base, Timestamp

#: patterns/idempotency_key.py: the replies that a repeated request gets.
idempotency_keys = Table(
    "idempotency_keys",
    Base.metadata,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("expires_at", Timestamp, nullable=False),
    Index(None, "expires_at"),
)
#: patterns/skip_locked_queue.py: what a process besides the web workers shall look at, such as an order.
queue = Table(
    "queue",
    Base.metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("payload", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("not_before", Timestamp, nullable=False, server_default=func.now()),
    Column("token", Uuid),
    Index(None, "not_before"),
)
#: patterns/outbox.py: events that the relay has not told yet.
outbox = Table(
    "outbox",
    Base.metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("key", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("created_at", Timestamp, nullable=False, server_default=func.now()),
    Column("not_before", Timestamp, nullable=False, server_default=func.now()),
    Index(None, "key", "id"),
)
