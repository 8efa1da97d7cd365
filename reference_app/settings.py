"""Every setting of the service, from environment variables, with its unit and its limit.

`DATABASE_URL` is the only one that must be set, and `REDIS_URL` should be. The rest is named `DESK_...` after
its field, for example `DESK_DATABASE_POOL_SIZE=20`. A wrong value stops the start with one sentence
(`SettingsError`), and neither the sentence nor `repr(settings)` shows a secret.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

Seconds = Annotated[float, Field(gt=0, le=3600)]

_HOW_TO_MAKE_ONE = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


class SettingsError(Exception):
    """A setting is missing or wrong; the text names the environment variable and what it must be."""


class Settings(BaseSettings):
    """What an operator may set.

    The pool budget: workers x (pool_size + max_overflow) must stay below `max_connections` of PostgreSQL.
    """

    model_config = SettingsConfigDict(
        env_prefix="DESK_", populate_by_name=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    database_url: SecretStr = Field(validation_alias=AliasChoices("database_url", "DATABASE_URL"))
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    database_max_overflow: int = Field(default=0, ge=0, le=1000)
    database_pool_timeout_s: Seconds = 2.0
    database_pool_recycle_s: Seconds = 1800.0
    database_connect_timeout_s: Seconds = 5.0
    #: For how long a worker that starts waits for a database that is away; less than a stop may take.
    database_start_wait_s: float = Field(default=20.0, ge=0, le=600)
    database_command_timeout_s: Seconds = 5.0
    database_lock_timeout_s: Seconds = 2.0
    database_application_name: str = Field(default="reference_app", min_length=1, max_length=63)

    #: Without it nothing is cached for all workers, and no rate limit is enforced.
    redis_url: SecretStr | None = Field(default=None, validation_alias=AliasChoices("redis_url", "REDIS_URL"))
    redis_timeout_s: Seconds = 0.25
    redis_max_connections: int = Field(default=50, ge=1, le=10_000)

    #: Without it, the simulated exchange answers inside each worker.
    exchange_url: str | None = Field(default=None, pattern=r"^https?://[^/?#\s]+$")
    exchange_timeout_s: Seconds = 0.5
    exchange_connections: int = Field(default=20, ge=1, le=1000)
    quote_fresh_s: Seconds = 1.0
    quote_stale_s: Seconds = 30.0

    token_secret: SecretStr | None = None  # migrations and imports do without: see `token_secret`
    #: Tokens signed with it are good as well. To change the secret without signing anybody out: first name
    #: the next one here at all workers, then let the two change places, then take the last one away.
    token_other_secret: SecretStr | None = None
    token_ttl_s: int = Field(default=900, ge=1, le=86_400)

    #: Requests a caller may make at once, and then again in each window; counted only with Redis.
    rate_limit: int = Field(default=6000, ge=1, le=10_000_000)
    rate_limit_window_s: int = Field(default=60, ge=1, le=86_400)
    #: Passwords that an address may try for a name at once, and then again in each minute.
    sign_in_limit: int = Field(default=20, ge=1, le=10_000)
    #: Where browsers may call from, separated by commas: https://desk.example,https://admin.desk.example
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    #: How long an idle connection is kept. Longer than the 60 s of common balancers: one that is closed here
    #: first meets the balancer's next request on its way, and its client gets a 502.
    keep_alive_s: int = Field(default=75, ge=1, le=3600)
    #: From SIGTERM to the end of listening; readiness says no at once, and balancers need time to hear it.
    shutdown_notice_s: float = Field(default=3.0, ge=0, le=60)

    #: Where the process `operations` tells metrics, without a token: no place that clients reach.
    operations_host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    operations_port: int = Field(default=8001, ge=0, le=65_535)

    max_accounts: int = Field(default=1000, ge=1, le=100_000)  # of one user

    matcher_tasks: int = Field(default=4, ge=1, le=100)  # each may hold a connection
    matcher_lease_s: Seconds = 30.0
    matcher_poll_interval_s: Seconds = 0.2
    matcher_look_again_s: Seconds = 5.0
    relay_poll_interval_s: Seconds = 0.2

    max_body_size_bytes: int = Field(default=64 * 1024, ge=1)
    retry_after_s: int = Field(default=1, ge=1)

    @field_validator("database_url", mode="before")
    @classmethod
    def _with_async_driver(cls, value: Any) -> Any:
        return normalise_database_url(value) if isinstance(value, str) else value

    @field_validator("redis_url", mode="before")
    @classmethod
    def _checked(cls, value: Any) -> Any:
        return checked_redis_url(value) if isinstance(value, str) else value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: Any) -> Any:
        origins = (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )
        if not all(re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", origin) for origin in origins):
            raise ValueError("expected origins such as https://desk.example, separated by commas")
        return tuple(origins)

    @field_validator("token_secret", "token_other_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        # RFC 7518 section 3.2: a key of HS256 has at least the 32 bytes of the hash.
        if value is not None and len(value.get_secret_value().encode()) < 32:
            raise ValueError(f"it has fewer than 32 bytes; {_HOW_TO_MAKE_ONE}")
        return value


def normalise_database_url(text: str) -> str:
    """Return the URL with the asyncpg driver, whatever common spelling it came in.

    SQLAlchemy 2.1 takes a bare `postgresql://` for psycopg, and libpq's `sslmode` is `ssl` in asyncpg.

    Args:
        text: A URL such as `postgres://user:password@host:5432/name`.

    Raises:
        ValueError: It is no PostgreSQL URL with a database name; the message does not contain the URL.
    """
    hint = "expected a URL such as postgresql://user:password@localhost:5432/desk"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(hint) from None
    if url.drivername not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise ValueError(f"{hint}; only PostgreSQL through asyncpg is supported")
    if not url.database:
        raise ValueError(f"{hint}; the database name is missing")
    query = {("ssl" if key == "sslmode" else key): value for key, value in url.query.items()}
    url = url.set(drivername="postgresql+asyncpg", query=query)
    return url.render_as_string(hide_password=False)


def checked_redis_url(text: str) -> str:
    """Return the URL if a client can be made of it.

    Args:
        text: A URL such as `redis://:password@host:6379/0`.

    Raises:
        ValueError: It is no URL of a Redis or Valkey server; the message does not contain it.
    """
    hint = "expected a URL such as redis://:password@localhost:6379/0"
    try:
        url = urlsplit(text)
        port, database = url.port, url.path.removeprefix("/")
    except ValueError:
        raise ValueError(hint) from None
    if url.scheme not in {"redis", "rediss"} or not url.hostname or port == 0:
        raise ValueError(hint)
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError(f"{hint}; the database is a number")
    return text


def database_url(settings: Settings) -> URL:
    """Return the URL as an object whose `str` and `repr` mask the password."""
    return make_url(settings.database_url.get_secret_value())


def token_secret(settings: Settings) -> str:
    """Return the secret that access tokens are signed with.

    Without a default: one that is made up at the start would differ from worker to worker, and each would
    refuse the tokens of the others.

    Raises:
        SettingsError: It is not set.
    """
    if settings.token_secret is None:
        raise SettingsError(f"DESK_TOKEN_SECRET is not set: {_HOW_TO_MAKE_ONE}.")
    return settings.token_secret.get_secret_value()


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment.

    Args:
        overrides: Values by the name of their field; they win over the environment.

    Raises:
        SettingsError: One sentence for each setting that is missing or wrong.
    """
    _refuse_unknown(name.upper() for name in os.environ)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(" ".join(_sentence(item) for item in error.errors())) from None


def _refuse_unknown(names: Iterable[str]) -> None:
    """Find a misspelt variable: without this it would be ignored, and the default would be in force."""
    known = [f"DESK_{field.upper()}" for field in Settings.model_fields]
    for name in names:
        if name.startswith("DESK_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it."
            raise SettingsError(f"{name} is not a setting: {hint}")


def _sentence(item: Any) -> str:
    field = str(item["loc"][0]).lower()
    name = field.upper() if field in {"database_url", "redis_url"} else f"DESK_{field.upper()}"
    if item["type"] == "extra_forbidden":
        return f"{name} is not a setting."
    if item["type"] == "missing":
        return f"{name} is not set: set it to a URL such as postgresql://user:password@localhost:5432/desk."
    reason = item["msg"].removeprefix("Value error, ")
    return f"{name} is not valid: {reason[0].lower()}{reason[1:]}."
