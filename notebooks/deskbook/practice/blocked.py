"""Whether somebody waits for a lock, asked of PostgreSQL: a fixed wait would be too short or too long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

_WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
_ASK_AGAIN_S = 0.01


async def until_done_or_blocked(
    connection: asyncpg.Connection, task: asyncio.Task[Any], *, sessions: int = 1, timeout_s: float = 3.0
) -> None:
    """Wait for a task, but no longer once so many sessions of this database wait for a lock.

    Args:
        connection: Of the checks alone, outside of a transaction: inside, pg_stat_activity never changes.
        task: What may be blocked; it is left running.
        sessions: How many have to wait, those included that waited before.
        timeout_s: For a task that waits for something else, in seconds.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while not task.done() and await connection.fetchval(_WAITING) < sessions and loop.time() < deadline_s:
        await asyncio.wait([task], timeout=_ASK_AGAIN_S)
