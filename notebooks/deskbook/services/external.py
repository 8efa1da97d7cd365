"""Servers named by DATABASE_URL and REDIS_URL: read the address, check it by connecting."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from deskbook.services.errors import ServicesError
from deskbook.services.model import Service, redacted

VARIABLES = {"postgres": "DATABASE_URL", "redis": "REDIS_URL"}

_SCHEMES = {"postgres": {"postgres", "postgresql"}, "redis": {"redis", "rediss"}}
_EXAMPLES = {
    "postgres": "postgresql://user:password@host:5432/database",
    "redis": "redis://:password@host:6379/0",
}
_CONNECT_TIMEOUT_S = 2.0

T = TypeVar("T")


def address(name: str) -> str:
    """Return the address given by the environment for `name`, or ""."""
    return os.environ.get(VARIABLES[name], "").strip()


def check(name: str, url: str, *, timeout_s: float = _CONNECT_TIMEOUT_S) -> Service:
    """Connect to the server at `url` and return it.

    Args:
        name: "postgres" or "redis".
        url: Its address; a SQLAlchemy address such as `postgresql+asyncpg://` is taken as well.
        timeout_s: Seconds to wait for the server.

    Raises:
        ServicesError: The address is wrong or the server does not answer; the password is not repeated.
    """
    plain = _plain(name, url)
    probe = _postgres_version if name == "postgres" else _redis_version
    try:
        version = probe(plain, timeout_s)
    except Exception as error:
        raise ServicesError(
            f"{VARIABLES[name]} is set, but the server at {redacted(plain)} cannot be used: "
            f"{_reason(error, plain, timeout_s)}.",
            f"Correct {VARIABLES[name]}, start that server, or unset it to use the embedded one.",
        ) from None
    return Service(name=name, url=plain, version=version, origin=VARIABLES[name])


def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread without an event loop and return its result.

    A notebook cell runs inside the kernel's event loop, where `asyncio.run` is refused.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="deskbook-services")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def run_coroutine(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, also from inside a running event loop."""
    import asyncio  # It is imported here, because embedded servers are started without an event loop.

    return in_thread(lambda: asyncio.run(work()))


def _plain(name: str, url: str) -> str:
    """Return `url` without the name of a SQLAlchemy driver, or raise if it is no address of this kind."""
    plain = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url)
    try:
        parts = urlsplit(plain)
        _ = parts.port
        known = parts.scheme in _SCHEMES[name]
    except ValueError:
        known = False
    if not known:
        raise ServicesError(
            f"{VARIABLES[name]} is set, but it is not an address of the form {_EXAMPLES[name]}.",
            "Write special characters in the password as %XX, or unset it to use the embedded server.",
        )
    return plain


def _postgres_version(url: str, timeout_s: float) -> str:
    async def ask() -> str:
        import asyncpg

        connection = await asyncpg.connect(url, timeout=timeout_s, command_timeout=timeout_s)
        try:
            version: str = await connection.fetchval("SHOW server_version")
        finally:
            await connection.close(timeout=timeout_s)
        return version.split()[0]

    return run_coroutine(ask)


def _redis_version(url: str, timeout_s: float) -> str:
    import redis

    with redis.Redis.from_url(url, socket_connect_timeout=timeout_s, socket_timeout=timeout_s) as client:
        info: Any = client.info("server")
    return str(info.get("valkey_version") or info["redis_version"])


def _reason(error: Exception, url: str, timeout_s: float) -> str:
    """Return what the driver said, in one line and without the password."""
    if isinstance(error, ImportError):
        return f"the driver is missing ({error}); install it with: pip install 'fastapi-deskbook[app]'"
    if isinstance(error, TimeoutError):
        return f"it did not answer within {timeout_s:.0f} s"
    text = " ".join(str(error).split()) or type(error).__name__
    password = urlsplit(url).password or ""
    for secret in {password, unquote(password)} - {""}:
        text = text.replace(secret, "***")
    return text.rstrip(".")
