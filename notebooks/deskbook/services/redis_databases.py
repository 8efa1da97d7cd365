"""A logical Valkey or Redis database of one's own."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from deskbook.services.access import ensure
from deskbook.services.both_ways import BothWays
from deskbook.services.errors import ServicesError
from deskbook.services.model import Service

if TYPE_CHECKING:
    import redis

_TIMEOUT_S = 10.0
_CLAIM_KEY = "deskbook:database:{}"
_HOLDER_PREFIX = "deskbook-"

#: Take claim KEYS[1] for ARGV[1] if it is free, or still held by the dead holder ARGV[2].
_CLAIM = """
local holder = redis.call('GET', KEYS[1])
if not holder or holder == ARGV[2] then redis.call('SET', KEYS[1], ARGV[1]) return 1 end
return 0
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


def fresh_redis() -> FreshRedis:
    """Give a logical database of one's own for a `with` or `async with` block; the target is its address.

    It is empty at the start and flushed at the end. A claim is a key in database 0 that names a connection of
    its holder, who keeps it open: so the claim of a process that died is free at once. On a server named by
    REDIS_URL only databases that are empty, or were claimed here before, are taken: nobody's data are
    flushed.

    Logical databases keep keys apart, and nothing else: channels, functions and CONFIG are the whole
    server's.

    Raises:
        ServicesError: There is no server, or all its databases are taken.
    """
    return FreshRedis()


class FreshRedis(BothWays[str]):
    """The context manager behind `fresh_redis`."""

    def __init__(self) -> None:
        self._claims: redis.Redis | None = None
        self._number = 0
        self._holder = ""

    def _open(self) -> str:
        import redis

        service = ensure("redis").redis
        assert service is not None
        self._holder = f"{_HOLDER_PREFIX}{secrets.token_hex(8)}"
        # One connection that stays open: its name tells others that the holder lives.
        claims = redis.Redis.from_url(
            _with_number(service.url, 0),
            client_name=self._holder,
            single_connection_client=True,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            decode_responses=True,
        )
        try:
            self._number = self._take_one(claims, service)
        except BaseException:
            claims.close()
            raise
        self._claims = claims
        return _with_number(service.url, self._number)

    def _close(self) -> None:
        import redis

        claims, self._claims = self._claims, None
        if claims is None:
            return
        try:
            _flush(claims, self._number)
            claims.eval(_RELEASE, 1, _CLAIM_KEY.format(self._number), self._holder)
        except redis.ConnectionError:
            pass  # the server has gone, and with it the claim or at least its holder's connection
        finally:
            claims.close()

    def _take_one(self, claims: redis.Redis, service: Service) -> int:
        count = _database_count(claims)
        for number in range(1, count):
            if self._take(claims, number, service.is_external):
                return number
        raise ServicesError(
            f"All {count - 1} logical databases of the Redis server ({service.origin}) are taken.",
            "Close notebooks you do not need, or raise `databases` in that server's configuration.",
        )

    def _take(self, claims: redis.Redis, number: int, is_external: bool) -> bool:
        key = _CLAIM_KEY.format(number)
        holder = str(claims.get(key) or "")
        if holder and _is_connected(claims, holder):
            return False
        if not holder and is_external and not _is_empty(claims, number):
            return False
        if not claims.eval(_CLAIM, 1, key, self._holder, holder):
            return False
        _flush(claims, number)
        return True


def _with_number(url: str, number: int) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{number}"))


def _database_count(claims: redis.Redis) -> int:
    import redis

    try:
        answer: Any = claims.config_get("databases")
    except redis.ResponseError:  # hosted servers forbid CONFIG
        return 16
    return int(answer.get("databases", 16))


def _is_connected(claims: redis.Redis, holder: str) -> bool:
    clients: Any = claims.client_list()
    return any(client.get("name") == holder for client in clients)


def _is_empty(claims: redis.Redis, number: int) -> bool:
    claims.select(number)
    try:
        return claims.dbsize() == 0
    finally:
        claims.select(0)


def _flush(claims: redis.Redis, number: int) -> None:
    claims.select(number)
    try:
        claims.flushdb()
    finally:
        claims.select(0)
