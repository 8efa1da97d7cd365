"""Weekly and monthly candles: exact, kept in Redis, dropped with an import, and without Redis slower."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from deskbook.desk import RunningApp, running_app
from deskbook.services import cluster
from redis import Redis
from sqlalchemy import event

from reference_app.candles.service import CandleRecord, CandleService

URL = "/v1/instruments/FB/aggregates/{}/2012"


class Statements:
    """How often the database was asked for aggregates."""

    def __init__(self, desk: RunningApp) -> None:
        self.count = 0
        event.listen(desk.state["engine"].sync_engine, "before_cursor_execute", self._note)

    def _note(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        self.count += "date_trunc" in statement


def candle(date: str, close: str, volume: int = 1) -> CandleRecord:
    price = Decimal(close)
    return ("FB", dt.date.fromisoformat(date), price, price, price, price, volume, price)


async def load(desk: RunningApp, *candles: CandleRecord) -> int:
    return int(await desk.state["services"][CandleService].load({"FB": "Facebook, Inc."}, candles))


async def test_a_week_begins_on_monday_and_has_first_highest_lowest_and_last(desk: RunningApp) -> None:
    body = (await desk.client.get(URL.format("weekly"))).json()
    assert (body["symbol"], body["interval"], body["year"]) == ("FB", "weekly", 2012)
    days = (await desk.client.get("/v1/instruments/FB/candles?start=2012-05-21&end=2012-05-27")).json()[
        "items"
    ]
    week = next(item for item in body["items"] if item["start"] == "2012-05-21")
    assert week == {
        "start": "2012-05-21",
        "open": days[0]["open"],
        "high": max(day["high"] for day in days),
        "low": min(day["low"] for day in days),
        "close": days[-1]["close"],
        "volume": sum(day["volume"] for day in days),
        "days": 5,
    }
    assert all(dt.date.fromisoformat(item["start"]).weekday() == 0 for item in body["items"])


async def test_no_trading_day_is_lost_or_counted_twice(desk: RunningApp) -> None:
    for interval in ("weekly", "monthly"):
        days = 0
        for year in range(1999, 2014):
            body = (await desk.client.get(f"/v1/instruments/AAPL/aggregates/{interval}/{year}")).json()
            starts = [item["start"] for item in body["items"]]
            assert starts == sorted(set(starts))
            assert all(start.startswith(str(year)) for start in starts)
            days += sum(item["days"] for item in body["items"])
        (row,) = await desk.sql(
            "SELECT count(*) FROM candles JOIN instruments i ON i.id = instrument_id WHERE symbol = 'AAPL'"
        )
        assert days == row["count"]


async def test_what_is_not_there(desk: RunningApp) -> None:
    assert (await desk.client.get("/v1/instruments/FB/aggregates/monthly/1900")).json()["items"] == []
    assert (await desk.client.get("/v1/instruments/NONE/aggregates/monthly/2012")).status_code == 404
    for path in ("daily/2012", "weekly/1899", "weekly/2201", "weekly/x"):
        assert (await desk.client.get(f"/v1/instruments/FB/aggregates/{path}")).status_code == 422


async def test_the_last_year_is_warm_and_others_are_made_once(own_desk: RunningApp) -> None:
    statements = Statements(own_desk)
    for interval in ("weekly", "monthly"):
        reply = await own_desk.client.get(f"/v1/instruments/FB/aggregates/{interval}/2013")
        assert len(reply.json()["items"]) > 2
    assert statements.count == 0
    replies = await asyncio.gather(*(own_desk.client.get(URL.format("weekly")) for _ in range(20)))
    assert len({reply.content for reply in replies}) == 1
    assert statements.count == 1
    etag = replies[0].headers["etag"]
    again = await own_desk.client.get(URL.format("weekly"), headers={"If-None-Match": etag})
    assert (again.status_code, statements.count) == (304, 1)


async def test_another_worker_finds_what_one_has_made(own_desk: RunningApp) -> None:
    settings = own_desk.state["settings"]
    assert settings.redis_url is not None
    await own_desk.client.get(URL.format("monthly"))
    urls = {"database_url": own_desk.database_url, "redis_url": settings.redis_url.get_secret_value()}
    async with running_app(**urls) as other:
        statements = Statements(other)
        assert len((await other.client.get(URL.format("monthly"))).json()["items"]) == 8
        assert statements.count == 0
        await load(other, candle("2012-12-31", "30"))
    december = (await own_desk.client.get(URL.format("monthly"))).json()["items"][-1]
    assert (december["start"], december["close"]) == ("2012-12-01", "30.0000")


async def closes(desk: RunningApp) -> Sequence[str]:
    reply = await desk.client.get(URL.format("monthly"))
    assert reply.status_code == 200, reply.text
    return [item["close"] for item in reply.json()["items"]][-1:]


@contextmanager
def frozen(url: str) -> Iterator[None]:
    """Stop the Redis server, which then accepts connections and answers nobody, and let it go on."""
    with Redis.from_url(url) as client:
        pid = client.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_redis_goes_away_and_comes_back_and_no_answer_is_wrong() -> None:
    with cluster(redis={}) as own:
        assert own.redis is not None
        async with running_app(redis_url=own.redis.url, redis_timeout_s=1) as desk:
            statements = Statements(desk)
            cache = desk.state["services"][CandleService]._aggregates._cache
            assert [await closes(desk), statements.count, cache.failures] == [["26.6197"], 1, 0]
            with frozen(own.redis.url):
                # Each answer is made anew, so a change is seen at once, though Redis could not be told of it.
                await load(desk, candle("2012-12-31", "27"))
                assert [await closes(desk), await closes(desk)] == [["27.0000"], ["27.0000"]]
                assert statements.count == 3
                assert cache.failures >= 1
            cache._paused_until_s = 0.0
            cache.client.connection_pool.connection_kwargs["socket_timeout"] = 10
            await cache.client.connection_pool.disconnect()
            # It is back with what it held before the change, and nobody gets that.
            assert [await closes(desk), await closes(desk)] == [["27.0000"], ["27.0000"]]
            assert (statements.count, cache.hits) == (4, 1)
            await load(desk, candle("2012-12-31", "28"))
            assert await closes(desk) == ["28.0000"]


async def test_without_redis_from_the_start_nothing_is_missing() -> None:
    for settings in ({"redis_url": None}, {"redis_url": "redis://127.0.0.1:1/0"}):
        async with running_app(**settings) as desk:
            assert await closes(desk) == ["26.6197"]
