"""One connection a process to the maintenance database, which creates, drops and holds the claims.

asyncpg has no synchronous API, and a notebook cell runs inside an event loop. So the connection lives in a
thread with a loop of its own, where both worlds can reach it, and stays open: its session holds an advisory
lock for each database of this process, which PostgreSQL frees however the process ends.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hashlib
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from deskbook.processes.fork_local import ForkLocal
from deskbook.services.errors import ServicesError

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 10.0
_COMMAND_TIMEOUT_S = 60.0
_CLOSE_TIMEOUT_S = 2.0


def lock_key(text: str) -> int:
    """Return the advisory lock number of a database name (a signed 64-bit number)."""
    return int.from_bytes(hashlib.sha256(f"deskbook {text}".encode()).digest()[:8], "big", signed=True)


class Keeper:
    """A connection in a thread of its own; statements of all threads run one after the other.

    Args:
        url: Address of the maintenance database.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="deskbook-keeper", daemon=True)
        self._thread.start()
        try:
            self._connection, self._turn = self._wait(self._open())
        except BaseException:
            self._end_loop()
            raise

    @property
    def is_usable(self) -> bool:
        """Whether the connection is still there."""
        return not self._connection.is_closed()

    def run(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        """Run `work(connection)` in the keeper's loop and return its result, from any thread."""

        async def in_turn() -> T:
            # Without it two threads would send on one connection at once, which asyncpg refuses.
            async with self._turn:
                return await work(self._connection)

        result: T = self._wait(in_turn())
        return result

    def close(self) -> None:
        """Close connection, loop and thread; all locks of the session are freed."""
        if self._thread.is_alive():
            with contextlib.suppress(Exception):
                self._wait(self._connection.close(timeout=_CLOSE_TIMEOUT_S))
            self._end_loop()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> tuple[asyncpg.Connection, asyncio.Lock]:
        import asyncpg

        connection = await asyncpg.connect(
            self.url,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            server_settings={"application_name": "deskbook keeper"},
        )
        return connection, asyncio.Lock()


class _Keepers:
    """The keepers of this process by address."""

    def __init__(self) -> None:
        # Without it two threads would open two sessions and one could not free what the other has locked.
        self.lock = threading.Lock()
        self.by_url: dict[str, Keeper] = {}


#: Threads do not survive a fork: a forked child opens a keeper of its own.
_keepers = ForkLocal(_Keepers)


def keeper(url: str, on_open: Callable[[Keeper], None]) -> Keeper:
    """Return this process's keeper for `url`, opening it on first use and after its server has gone.

    Args:
        url: Address of the maintenance database.
        on_open: Called once with a new keeper.

    Raises:
        ServicesError: The server cannot be reached.
    """
    keepers = _keepers.get()
    with keepers.lock:
        found = keepers.by_url.get(url)
        if found is None or not found.is_usable:
            if found is not None:
                found.close()
            try:
                found = Keeper(url)
            except (OSError, TimeoutError) as error:
                raise ServicesError(
                    f"PostgreSQL could not be reached: {error}.", "Try again, or see `deskbook doctor`."
                ) from None
            on_open(found)
            keepers.by_url[url] = found
        return found


@atexit.register
def _close_all() -> None:
    for found in list(_keepers.get().by_url.values()):
        found.close()
