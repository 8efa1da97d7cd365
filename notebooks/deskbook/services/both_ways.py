"""A context manager for `with` and `async with` alike."""

from __future__ import annotations

import asyncio
import contextlib
import os
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class BothWays(ABC, Generic[T]):
    """Something opened and closed by blocking calls, usable in plain code and in a running event loop.

    `async with` does the blocking calls in a thread, so that the loop goes on. In a forked child leaving the
    block does nothing: what was opened belongs to the parent.
    """

    _opened_by: int | None = None

    @abstractmethod
    def _open(self) -> T:
        """Make it; on an exception nothing is left."""

    @abstractmethod
    def _close(self) -> None:
        """Remove it; called once after a successful `_open`, in the same process."""

    def __enter__(self) -> T:
        if self._opened_by == os.getpid():
            raise RuntimeError(f"this {type(self).__name__} is open already; make one for each block")
        opened = self._open()
        self._opened_by = os.getpid()
        return opened

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened_by, self._opened_by = self._opened_by, None
        if opened_by == os.getpid():
            self._close()

    async def __aenter__(self) -> T:
        opening = asyncio.ensure_future(asyncio.to_thread(self.__enter__))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread cannot be cancelled: wait for what it makes and remove it, or it would be left over.
            with contextlib.suppress(Exception):
                await opening
            await asyncio.to_thread(self.__exit__, None, None, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.to_thread(self.__exit__, kind, error, trace))
