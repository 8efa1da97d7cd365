"""The exchange that the desk asks for prices, simulated: a second service with moods that a test can switch.

It stands for what a desk cannot control: an upstream that is slow, fails, or has had enough of us. Its prices
are a seeded walk around the last real close, the same in every process at the same moment. They are not real.

    python -m reference_app.market.exchange_simulator --port 8001 --seed 1
    curl -X PUT localhost:8001/behaviour -d '{"latency_s": 0.2, "error_rate": 0.5, "rate_limit": 10}'
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import hashlib
import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reference_app.infra.http.bounded_protocol import BoundedProtocol
from reference_app.patterns.money import round_money

#: The last closes in `reference_app/data`; any other symbol gets a price made of its name.
LAST_CLOSES = {"AAPL": "430.47", "FB": "27.78", "GOOG": "806.19", "IBM": "202.91", "MSFT": "27.95"}
TICK_S = 0.5
SYMBOL = re.compile(r"[A-Z][A-Z0-9.]{0,9}")


class Behaviour(BaseModel):
    """How the exchange is to behave from now on.

    Attributes:
        latency_s: Seconds that an answer takes; each takes 0.5 to 1.5 times that.
        error_rate: Share of requests answered with 500.
        rate_limit: Requests a second beyond which it answers 429; 0 for none.
        is_hanging: It accepts requests and never answers.
    """

    model_config = ConfigDict(extra="forbid")

    latency_s: float = Field(default=0.005, ge=0, le=60)
    error_rate: float = Field(default=0.0, ge=0, le=1)
    rate_limit: int = Field(default=0, ge=0)
    is_hanging: bool = False


@dataclass
class Exchange:
    """The state of one simulated exchange.

    Attributes:
        seed: Makes its prices, latencies and errors repeatable.
        behaviour: Replace it at any time.
        clock: Returns the seconds since 1970.
        requests: How many requests for a quote have come.
    """

    seed: int = 1
    behaviour: Behaviour = field(default_factory=Behaviour)
    clock: Callable[[], float] = time.time
    requests: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - no secret
        self._second, self._in_second = 0, 0

    async def read_quote(self, request: Request) -> Response:
        """Answer with the price of now, in the mood of now."""
        self.requests += 1
        behaviour, symbol = self.behaviour, request.path_params["symbol"]
        limit = self._limit_fields(behaviour.rate_limit)
        if "retry-after" in limit:
            return JSONResponse({"error": "too many requests"}, 429, limit)
        if behaviour.is_hanging:
            await asyncio.Event().wait()
        await asyncio.sleep(behaviour.latency_s * self._random.uniform(0.5, 1.5))
        if self._random.random() < behaviour.error_rate:
            return JSONResponse({"error": "internal error"}, 500, limit)
        if SYMBOL.fullmatch(symbol) is None:
            return JSONResponse({"error": "no such symbol"}, 404, limit)
        return JSONResponse(self.quote(symbol), headers=limit)

    def quote(self, symbol: str) -> dict[str, str]:
        """Return bid, ask and last price at the tick of now."""
        tick = int(self.clock() / TICK_S)
        last = simulated_price(self.seed, symbol, tick)
        half_spread = max(Decimal("0.01"), round_money(last / 10_000))
        as_of = dt.datetime.fromtimestamp(tick * TICK_S, dt.UTC)
        return {
            "symbol": symbol,
            "bid": str(last - half_spread),
            "ask": str(last + half_spread),
            "last": str(last),
            "as_of": as_of.isoformat().replace("+00:00", "Z"),
        }

    async def switch(self, request: Request) -> Response:
        """Show the behaviour, or replace it."""
        if request.method == "PUT":
            try:
                self.behaviour = Behaviour.model_validate_json(await request.body())
            except ValidationError as error:
                return JSONResponse({"error": error.errors(include_input=False, include_url=False)}, 422)
        return JSONResponse(self.behaviour.model_dump() | {"requests": self.requests})

    def _limit_fields(self, limit: int) -> dict[str, str]:
        """Count a request in the second it came in; the draft's RateLimit fields say what is left."""
        if not limit:
            return {}
        now = self.clock()
        if int(now) != self._second:
            self._second, self._in_second = int(now), 0
        self._in_second += 1
        reset_s = math.ceil(self._second + 1 - now) or 1
        fields = {"ratelimit": f'"second";r={max(0, limit - self._in_second)};t={reset_s}'}
        return fields | ({"retry-after": str(reset_s)} if self._in_second > limit else {})


def simulated_price(seed: int, symbol: str, tick: int) -> Decimal:
    """Return the price of a symbol at a tick: value noise of four octaves, at most 4 % around its base.

    A function of its arguments alone, so that workers and restarts agree without a word.
    """
    known = LAST_CLOSES.get(symbol)
    base = float(known) if known else 10 + 490 * _noise(seed, symbol, -1, 0)
    walk = 0.0
    for octave in range(4):
        place, part = divmod(tick, 4**octave)
        here, there = (_noise(seed, symbol, octave, at) - 0.5 for at in (place, place + 1))
        walk += 2**octave * (here + (there - here) * part / 4**octave)
    return round_money(Decimal(base * (1 + 0.08 * walk / 15)))


def _noise(seed: int, symbol: str, octave: int, place: int) -> float:
    digest = hashlib.blake2b(f"{seed} {symbol} {octave} {place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def create_exchange(exchange: Exchange | None = None) -> Starlette:
    """Return the exchange as an ASGI app; its state is `app.state.exchange`."""
    exchange = exchange or Exchange()
    routes = [
        Route("/quotes/{symbol}", exchange.read_quote),
        Route("/behaviour", exchange.switch, methods=["GET", "PUT"]),
    ]
    app = Starlette(routes=routes)
    app.state.exchange = exchange
    return app


def main() -> None:
    """Serve the simulated exchange until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m reference_app.market.exchange_simulator")
    parser.add_argument("--port", type=int, default=8001, help="on 127.0.0.1")
    parser.add_argument("--seed", type=int, default=1, help="of prices, latencies and errors")
    arguments = parser.parse_args()
    app = create_exchange(Exchange(seed=arguments.seed))
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, http=BoundedProtocol, timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
