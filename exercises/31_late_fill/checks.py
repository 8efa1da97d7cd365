import asyncio

from deskbook.races import explore_sync


class Desk:
    """A table of prices whose answers travel, and the cache in front of it."""

    def __init__(self, answer):
        self.rows = {"IBM": "202.91", "AAPL": "430.47"}
        self.reads = 0
        self.cache = answer.QuoteCache(self.read_row)

    async def read_row(self, symbol):
        self.reads += 1
        price = self.rows[symbol]
        await asyncio.sleep(0)
        return price


async def read(desk):
    return await desk.cache.get("IBM")


async def change(desk):
    desk.rows["IBM"] = "203.10"
    await asyncio.sleep(0)  # the commit travels
    desk.cache.invalidate("IBM")


async def test_a_price_is_kept(answer, evidence):
    """A price that nobody changes is read from the table once."""
    evidence.given("three readers, one after the other")
    desk = Desk(answer)
    prices = [await read(desk) for _ in range(3)]
    evidence.got(f"{prices} and {desk.reads} reads of the table")
    assert prices == ["202.91"] * 3, "A reader got something else than the price."
    assert desk.reads == 1, "The table was not read exactly once."


async def test_a_change_is_seen(answer, evidence):
    """Who asks after a change gets the new price, and it is kept again."""
    evidence.given("a reader, a change, and two readers")
    desk = Desk(answer)
    await read(desk)
    await change(desk)
    prices = [await read(desk), await read(desk)]
    evidence.got(f"{prices} and {desk.reads} reads of the table")
    assert prices == ["203.10"] * 2, "A reader got the old price."
    assert desk.reads == 2, "The new price was not kept."


def test_no_order_keeps_the_old_price(answer, evidence):
    """In no order of two readers and a change, who asks afterwards gets the old price."""
    evidence.given("two readers and one change at once, and a reader afterwards")

    async def afterwards_it_is_new(desk, replies):
        price = await read(desk)
        assert price == "203.10", f"the table says 203.10, and who asks now is told {price}"

    report = explore_sync(
        lambda: Desk(answer),
        {"R": read, "S": read, "W": change},
        invariant=afterwards_it_is_new,
        observe=lambda desk: {"row": desk.rows["IBM"]},
        max_schedules=3_000,
    )
    evidence.proves(report)


async def test_other_prices_are_kept(answer, evidence):
    """A change drops its own symbol, and no other."""
    evidence.given("IBM and AAPL in the cache, and a change of IBM")
    desk = Desk(answer)
    await read(desk)
    await desk.cache.get("AAPL")
    await change(desk)
    before = desk.reads
    await desk.cache.get("AAPL")
    evidence.got(f"{desk.reads - before} further reads of the table for AAPL")
    assert desk.reads == before, "AAPL was dropped, although nobody changed it."
