"""Portions of an export: the database makes one while the one before is on its way to the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

Key = TypeVar("Key")


async def read_ahead(
    read: Callable[[Key], Coroutine[Any, Any, tuple[bytes, Key | None]]], first: Key
) -> AsyncGenerator[bytes]:
    """Yield portions, with at most one in memory besides the one that is being sent.

    Without reading ahead the database waits while we send, and we wait while it reads. Without the bound a
    slow client would have its whole export waiting in our memory.

    Args:
        read: Returns the portion after a key, and the key to go on from, or None at the end.
        first: The key to begin with.
    """
    reading = asyncio.create_task(read(first))
    try:
        while True:
            portion, key = await reading
            if key is not None:
                reading = asyncio.create_task(read(key))
            if portion:
                yield portion
            if key is None:
                return
    finally:
        # Waited for: whoever comes next must find the connection back in the pool. And cancelled also if it
        # has failed: asyncio then logs no traceback of a portion that nobody will ask for.
        reading.cancel()
        await asyncio.wait([reading])
