"""Passwords to hashes and back to a yes or no, off the event loop and within bounds."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from reference_app.patterns.load_shedding import LoadShedder

Result = TypeVar("Result")

#: argon2id as OWASP advises (Password Storage Cheat Sheet): about 20 ms and 19 MiB for each hash.
MEMORY_KIB, ROUNDS, LANES = 19 * 1024, 2, 1


class Passwords:
    """Hashes and checks passwords in threads of its own.

    On the event loop each check would stop every other request for 20 ms. The threads are few and the queue
    is bounded: argon2 is made to be expensive, and a flood of sign-ins must not take the memory or the
    processors from those who trade. `Overloaded` is raised for what does not fit.

    Args:
        max_running: Threads, each with one hash at a time.
        max_waiting: Checks that may queue, for at most 2 s.
    """

    def __init__(self, *, max_running: int = 2, max_waiting: int = 64) -> None:
        self._hash = PasswordHash((Argon2Hasher(ROUNDS, MEMORY_KIB, LANES),))
        self._shedder = LoadShedder(max_running=max_running, max_waiting=max_waiting, max_wait_s=2.0)
        self._threads = ThreadPoolExecutor(max_running, thread_name_prefix="passwords")
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """Return what to store: the argon2id hash with salt and parameters."""
        return await self._run(lambda: self._hash.hash(password))

    async def check(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Say whether the password is the one of the stored hash, and give a new hash where it is outdated.

        Args:
            password: As the client sent it.
            stored: None where the user does not exist. Then a decoy is checked: an answer that came faster
                would tell which names exist.
        """

        def check() -> tuple[bool, str | None]:
            if stored is None:
                self._hash.verify(password, self._decoy_hash())
                return False, None
            return self._hash.verify_and_update(password, stored)

        return await self._run(check)

    def close(self) -> None:
        """End the threads; checks under way finish."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _decoy_hash(self) -> str:
        if self._decoy is None:
            self._decoy = self._hash.hash(secrets.token_urlsafe())
        return self._decoy

    async def _run(self, work: Callable[[], Result]) -> Result:
        async with self._shedder:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
