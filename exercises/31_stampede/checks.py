import asyncio

from deskbook.races import can_overlap, explore_sync


class Exchange:
    """Answers after a while, and notes who was asked about and how many loads ran at once."""

    def __init__(self, fails=0):
        self.fails = fails
        self.asked = []
        self.loading = self.most_at_once = 0

    async def load(self, symbol):
        self.asked.append(symbol)
        self.loading += 1
        self.most_at_once = max(self.most_at_once, self.loading)
        try:
            await asyncio.sleep(0)
        finally:
            self.loading -= 1
        if len(self.asked) <= self.fails:
            raise ConnectionError("the exchange is down")
        return f"price of {symbol}"


class Desk:
    def __init__(self, answer):
        self.exchange = Exchange()
        self.cache = answer.QuoteCache(self.exchange.load)


async def ask(desk):
    return await desk.cache.get("IBM")


async def ask_for_another(desk):
    return await desk.cache.get("AAPL")


async def test_a_price_is_loaded_once_and_kept(answer, evidence):
    """The first client causes a load, and the second one is answered from the cache."""
    evidence.given("two clients, one after the other")
    desk = Desk(answer)
    prices = [await ask(desk), await ask(desk)]
    evidence.got(f"{prices} and {len(desk.exchange.asked)} loads")
    assert prices == ["price of IBM"] * 2, "A client got something else than the price."
    assert len(desk.exchange.asked) == 1, "The price was not loaded exactly once."


def test_clients_together_cause_one_load(answer, evidence):
    """Three clients who ask together cause one load, in every order in which they can run."""
    evidence.given("three clients who ask for the same symbol at once")

    def one_load(desk, replies):
        assert set(replies.values()) == {"price of IBM"}, "a client got something else than the price"
        assert len(desk.exchange.asked) == 1, f"the exchange was asked {len(desk.exchange.asked)} times"

    report = explore_sync(
        lambda: Desk(answer),
        dict.fromkeys("ABC", ask),
        invariant=one_load,
        observe=lambda desk: {"loads": len(desk.exchange.asked)},
        max_schedules=2_000,
    )
    evidence.proves(report)


def test_two_symbols_load_side_by_side(answer, evidence):
    """While one symbol is loaded, a client who asks for another one is answered."""
    evidence.given("two clients who ask for two symbols, the first of them waiting for its load")
    overlap = can_overlap(lambda: Desk(answer), {"A": ask, "B": ask_for_another})
    evidence.overlaps(overlap)


async def test_a_failure_is_not_kept(answer, evidence):
    """A load that fails fails for its clients, and the next client gets a price."""
    evidence.given("an exchange that fails once, two clients at once, and a third one afterwards")
    exchange = Exchange(fails=1)
    cache = answer.QuoteCache(exchange.load)
    async with asyncio.timeout(1):
        first = await asyncio.gather(cache.get("IBM"), cache.get("IBM"), return_exceptions=True)
    try:
        async with asyncio.timeout(1):
            third = await cache.get("IBM")
    except (ConnectionError, TimeoutError) as error:
        third = type(error).__name__
    evidence.got(f"first {[type(it).__name__ for it in first]}, then {third}")
    assert isinstance(first[0], ConnectionError), "The first client was not told that the load failed."
    assert third == "price of IBM", "The third client got no price, although the exchange is up again."


def test_a_cancelled_client_takes_nobody_along(answer, evidence):
    """If one client is cancelled, at any step, the other one still gets its price."""
    evidence.given("two clients who ask together, the first of which may be cancelled")

    def who_stays_is_answered(desk, replies):
        assert replies["B"] == "price of IBM", "B, who stayed, was not answered"

    report = explore_sync(
        lambda: Desk(answer),
        {"A": ask, "B": ask},
        invariant=who_stays_is_answered,
        observe=lambda desk: {"loads": len(desk.exchange.asked)},
        cancel=["A"],
        max_schedules=4_000,
    )
    evidence.proves(report)
