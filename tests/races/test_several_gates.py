"""A service with PostgreSQL and Redis: what it does to both is one search."""

import asyncio

import asyncpg
import pytest
import redis.asyncio as redis_client
from deskbook.races import AsyncpgGate, RedisGate, explore


@pytest.fixture(scope="session")
async def stores(postgres_url, redis_url):
    async with asyncpg.create_pool(postgres_url, min_size=2, max_size=2) as pool:
        await pool.execute("create table cached_price (id int primary key, price int)")
        async with redis_client.from_url(redis_url) as client:
            yield pool, client


async def start_again(stores):
    pool, client = stores
    await pool.execute("truncate cached_price; insert into cached_price values (1, 1)")
    await client.delete("price")


async def read(stores):
    pool, client = stores
    cached = await client.get("price")
    if cached is not None:
        return int(cached)
    price = await pool.fetchval("select price from cached_price where id = 1")
    await client.set("price", price)
    return price


async def read_without_storing(stores):
    pool, client = stores
    cached = await client.get("price")
    return cached or await pool.fetchval("select price from cached_price where id = 1")


async def write_then_delete(stores):
    pool, client = stores
    await pool.execute("update cached_price set price = 2 where id = 1")
    await client.delete("price")


async def delete_then_write(stores):
    pool, client = stores
    await client.delete("price")
    await pool.execute("update cached_price set price = 2 where id = 1")


async def cache_is_true(stores, responses):
    pool, client = stores
    cached = await client.get("price")
    price = await pool.fetchval("select price from cached_price where id = 1")
    assert cached is None or int(cached) == price, (cached, price)


@pytest.mark.parametrize(
    ("reader", "writer", "verdict"),
    [
        (read, write_then_delete, "counterexample"),
        (read, delete_then_write, "counterexample"),
        (read_without_storing, write_then_delete, "exhausted"),
    ],
)
async def test_statements_and_commands_are_steps_of_one_search(stores, postgres_url, reader, writer, verdict):
    report = await explore(
        lambda: stores,
        {"A": reader, "B": writer},
        invariant=cache_is_true,
        reset=start_again,
        gate=[AsyncpgGate(postgres_url), RedisGate()],
        max_seconds=30,
    )
    assert report.verdict == verdict, report


async def test_two_gates_for_one_library_are_refused(stores):
    with pytest.raises(ValueError, match="two gates stop redis-py"):
        await explore(lambda: stores, {"A": read}, gate=[RedisGate(), RedisGate()])


async def test_an_empty_list_of_gates_is_refused(stores):
    with pytest.raises(ValueError, match="names no gate"):
        await explore(lambda: stores, {"A": read}, gate=[])


class Theatre:
    """Seats in memory, prices in PostgreSQL."""

    def __init__(self, pool, pause):
        self.pool = pool
        self.seats = 1
        self.pause = pause
        self.lock = asyncio.Lock()

    async def ask_price(self):
        await self.pool.fetchval("select price from cached_price where id = 1")

    async def check_then_act(self):
        await self.ask_price()
        if self.seats < 1:
            return False
        await self.pause()
        self.seats -= 1
        return True

    async def check_then_act_under_a_lock(self):
        async with self.lock:
            return await self.check_then_act()

    async def act_at_once(self):
        await self.ask_price()
        if self.seats < 1:
            return False
        self.seats -= 1
        await self.pause()
        return True


async def give_way():
    await asyncio.sleep(0)


async def wait_a_while():
    await asyncio.sleep(0.5)


async def ask_a_thread():
    await asyncio.to_thread(len, "")


@pytest.mark.parametrize("pause", [give_way, wait_a_while, ask_a_thread])
@pytest.mark.parametrize(
    ("buy", "verdict"),
    [
        (Theatre.check_then_act, "counterexample"),
        (Theatre.check_then_act_under_a_lock, "exhausted"),
        (Theatre.act_at_once, "exhausted"),
    ],
)
async def test_a_race_in_memory_is_seen_beside_a_gate(stores, postgres_url, pause, buy, verdict):
    pool, _ = stores

    def seats_are_kept(theatre, responses):
        assert theatre.seats >= 0, theatre.seats

    report = await explore(
        lambda: Theatre(pool, pause),
        {"A": buy, "B": buy},
        invariant=seats_are_kept,
        gate=AsyncpgGate(postgres_url),
        max_seconds=30,
    )
    assert report.verdict == verdict, report
