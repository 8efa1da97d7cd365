"""The client of the exchange: one pool, every limit explicit, and no more load than the exchange can bear.

From outside in: a retry for what may succeed next time, while the budget of retries lasts; the exchange's own
rate limit, which holds all calls back; the circuit breaker, which counts every try; one HTTP call.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial

import httpx
import stamina
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.types import ASGIApp

from reference_app.patterns.circuit_breaker import CircuitBreaker
from reference_app.patterns.money import Price
from reference_app.settings import Settings

MAX_TRIES = 3
LONGEST_WAIT_S = 0.2
#: The exchange may not make us wait for longer: a typing error of theirs must not shut us out for a year.
LONGEST_HOLD_S = 60.0


class ExchangeQuote(BaseModel):
    """What the exchange says about one symbol; as_of has a time zone."""

    model_config = ConfigDict(frozen=True)

    symbol: str
    bid: Price
    ask: Price
    last: Price
    as_of: dt.datetime


class ExchangeFailed(Exception):
    """The exchange did not answer, or not with a quote; a later call may succeed."""


class ExchangeBusy(Exception):
    """The exchange wants no calls for `retry_after_s` seconds, and none was made."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"the exchange wants no calls for another {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class UnknownSymbol(Exception):
    """The exchange does not trade this symbol."""


@dataclass
class RetryBudget:
    """Retries may add `ratio` to the calls, and no more: else they triple the load of an exchange in trouble.

    Attributes:
        ratio: How many retries each call earns.
        most: Retries that can be saved up, so that a quiet service may still retry.
        left: Retries that may be made now.
    """

    ratio: float = 0.2
    most: float = 10.0
    left: float = field(default=10.0, init=False)

    def earn(self) -> None:
        """Count a call."""
        self.left = min(self.most, self.left + self.ratio)

    def take(self) -> bool:
        """Return whether a retry may be made, and count it."""
        if self.left < 1:
            return False
        self.left -= 1
        return True


class ExchangeClient:
    """Asks the exchange for quotes; an async context manager that closes its connections.

    Args:
        base_url: The address of the exchange, without a slash at its end.
        timeout_s: Seconds for one try, connecting included.
        connections: How many at most; a call for which there is none waits for one, within the same timeout.
        app: An exchange inside this process, in place of the network.
        clock: Returns monotonic seconds.

    Attributes:
        breaker, budget: Their state and totals, for metrics.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        connections: int,
        app: ASGIApp | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=base_url,
            transport=None if app is None else httpx.ASGITransport(app),
            timeout=httpx.Timeout(timeout_s),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"User-Agent": "deskbook-reference-app"},
            # A proxy in the environment of the service is not meant for its exchange.
            trust_env=False,
        )
        self._clock = clock
        self._held_until_s = 0.0
        self._longest_s = MAX_TRIES * (timeout_s + LONGEST_WAIT_S)
        self.budget = RetryBudget()
        # timeout_s of httpx is for each step; the breaker's is for the whole call.
        self.breaker = CircuitBreaker(
            timeout_s=timeout_s,
            open_s=2.0,
            window_s=10.0,
            is_failure=lambda error: not isinstance(error, ExchangeBusy | UnknownSymbol),
            clock=clock,
        )

    async def __aenter__(self) -> ExchangeClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._http.aclose()

    async def quote(self, symbol: str) -> ExchangeQuote:
        """Return the quote of now.

        Raises:
            ExchangeFailed: Every try failed, or the budget of retries is used up.
            ExchangeBusy: The exchange's rate limit; nothing was asked if it was known before.
            CircuitOpen: It failed too often lately; nothing was asked.
            UnknownSymbol: There is no such symbol there.
        """
        self.budget.earn()
        async for attempt in stamina.retry_context(
            on=self._may_try_again,
            attempts=MAX_TRIES,
            timeout=self._longest_s,
            wait_initial=0.02,
            wait_max=LONGEST_WAIT_S,
            wait_jitter=0.05,
        ):
            with attempt:
                # Not inside the breaker, which would take it for an answer of the exchange.
                if (held_s := self._held_until_s - self._clock()) > 0:
                    raise ExchangeBusy(held_s)
                try:
                    return await self.breaker.call(partial(self._ask, symbol))
                except (httpx.HTTPError, TimeoutError) as error:
                    raise ExchangeFailed(type(error).__name__) from error
        raise AssertionError("the loop returns or raises")

    def _may_try_again(self, error: Exception) -> bool:
        return isinstance(error, ExchangeFailed) and self.breaker.state != "open" and self.budget.take()

    async def _ask(self, symbol: str) -> ExchangeQuote:
        reply = await self._http.get(f"/quotes/{symbol}")
        self._note_limit(reply)
        if reply.status_code == 404:
            raise UnknownSymbol(symbol)
        if reply.status_code == 429:
            raise ExchangeBusy(max(0.0, self._held_until_s - self._clock()))
        if reply.status_code != 200:
            raise ExchangeFailed(f"status {reply.status_code}")
        try:
            quote = ExchangeQuote.model_validate_json(reply.content)
        except ValidationError:
            raise ExchangeFailed("the answer is no quote") from None
        if quote.symbol != symbol or quote.as_of.tzinfo is None:
            raise ExchangeFailed("the answer is for another symbol, or says no time zone")
        return quote

    def _note_limit(self, reply: httpx.Response) -> None:
        """Hold all calls back when the exchange says so, or says that nothing is left of its limit."""
        hold_s = 0.0
        if reply.status_code in {429, 503}:
            hold_s = retry_after_s(reply.headers.get("retry-after", ""), default_s=1.0)
        elif left := re.search(r";\s*r=0\s*;\s*t=([0-9]{1,6})", reply.headers.get("ratelimit", "")):
            hold_s = float(left[1])
        if hold_s:
            self._held_until_s = max(self._held_until_s, self._clock() + min(hold_s, LONGEST_HOLD_S))


def retry_after_s(value: str, *, default_s: float) -> float:
    """Return the seconds that Retry-After says, in either of its forms (RFC 9110 section 10.2.3)."""
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return default_s
    return max(0.0, (date.replace(tzinfo=date.tzinfo or dt.UTC) - dt.datetime.now(dt.UTC)).total_seconds())


def create_exchange_client(settings: Settings, app: ASGIApp | None = None) -> ExchangeClient:
    """Return the client of the app; whoever creates it enters it as a context manager.

    Args:
        settings: They name the address, the timeout and the number of connections.
        app: An exchange inside this process, where the settings name none.
    """
    return ExchangeClient(
        settings.exchange_url or "http://exchange.inside",
        timeout_s=settings.exchange_timeout_s,
        connections=settings.exchange_connections,
        app=None if settings.exchange_url else app,
    )
