import asyncio

import pytest
from deskbook.races import SQLAlchemyGate, explore

TABLES = """
CREATE TABLE orders (id serial PRIMARY KEY, symbol text, quantity int);
CREATE TABLE keys (key text PRIMARY KEY, symbol text, quantity int, order_id int);
"""
EMPTY = "DELETE FROM orders; DELETE FROM keys; SELECT setval('orders_id_seq', 1, false);"


async def state_of(desk):
    """The orders, and key -> number of its order."""
    orders = await desk.own.fetch("SELECT id FROM orders ORDER BY id")
    keys = await desk.own.fetch("SELECT key, order_id FROM keys")
    return [row["id"] for row in orders], dict(keys)


async def send_copies(answer, desk, names, invariant, **options):
    """The same order under each name, in every order of the statements."""

    async def fresh_desk():
        await desk.own.execute(EMPTY)
        async with desk.engine.connect():  # a request that was cut off took its connection with it
            pass
        return desk

    def send(desk):
        return answer.place_order(desk.sessions, "k1", "AAPL", 10)

    return await explore(
        fresh_desk,
        dict.fromkeys(names, send),
        invariant=invariant,
        gate=SQLAlchemyGate(desk.engine),
        max_schedules=1_000,
        max_seconds=60,
        **options,
    )


async def test_a_retry_gets_the_same_number(answer, evidence, desk):
    """The same order with the same key, sent again, gets the same number."""
    evidence.given("10 AAPL with the key k1, twice, and 10 AAPL with the key k2")
    numbers = [await answer.place_order(desk.sessions, key, "AAPL", 10) for key in ("k1", "k1", "k2")]
    orders, _ = await state_of(desk)
    evidence.got(f"the numbers {numbers}, and the orders {orders}")
    assert numbers[0] == numbers[1], "The retry got another number."
    assert [numbers[0], numbers[2]] == orders, "The numbers are not those of the orders."


async def test_another_order_is_refused(answer, evidence, desk):
    """The same key with another order raises KeyReused, and nothing is placed."""
    evidence.given("10 AAPL with the key k1, then 500 AAPL with the key k1")
    await answer.place_order(desk.sessions, "k1", "AAPL", 10)
    try:
        number = await answer.place_order(desk.sessions, "k1", "AAPL", 500)
    except answer.KeyReused:
        orders, _ = await state_of(desk)
        evidence.got(f"KeyReused, and {len(orders)} order")
        assert len(orders) == 1, "There is an order more."
    else:
        evidence.got(f"number {number}")
        pytest.fail("The client believes that its second order was placed.")


async def test_a_crash_leaves_all_or_nothing(answer, evidence, desk):
    """A request that is cut off at any statement leaves the order with its key, or neither."""
    evidence.given("10 AAPL with the key k1, cut off at each statement")

    async def all_or_nothing(desk, numbers):
        orders, keys = await state_of(desk)
        assert len(orders) == len(keys), f"{len(orders)} orders and {len(keys)} keys are left"
        assert list(keys.values()) == orders, f"the orders are {orders}, and the keys say {keys}"

    evidence.proves(await send_copies(answer, desk, "A", all_or_nothing, cancel=["A"]))


async def test_two_copies_make_one_order(answer, evidence, desk):
    """In every order of the statements, two copies make one order, and both get its number."""
    evidence.given("10 AAPL with the key k1, from two workers at once")

    async def one_order(desk, numbers):
        orders, _ = await state_of(desk)
        assert len(orders) == 1, f"{len(orders)} orders for one key"
        for name, number in numbers.items():
            assert not isinstance(number, Exception | asyncio.CancelledError), (
                f"{name} got {type(number).__name__}"
            )
        assert set(numbers.values()) == set(orders), f"the order is {orders}, and the clients got {numbers}"

    evidence.proves(await send_copies(answer, desk, "AB", one_order))
