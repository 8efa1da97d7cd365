import asyncio
import gc
import weakref


class Price:
    """An object that can be watched: is anybody still holding it?"""

    def __init__(self, text):
        self.text = text


class Client:
    """A page that notes what it is sent; it breaks off when it is told to."""

    def __init__(self):
        self.seen = []
        self.broken = False

    async def send(self, price):
        if self.broken:
            raise ConnectionError("the client is gone")
        self.seen.append(price.text)


async def turns():
    for _ in range(10):
        await asyncio.sleep(0)


async def stays_and_goes(answer, leave):
    """Let one client stay and three go; return what the one saw, and whether a later price is still held."""
    feed, staying = answer.PriceFeed(), Client()
    going = [Client() for _ in range(3)]
    stayer = asyncio.create_task(feed.watch(staying.send))
    leavers = [asyncio.create_task(feed.watch(client.send)) for client in going]
    await turns()
    feed.publish(Price("202.91"))
    await turns()
    await leave(feed, going, leavers)
    del leavers[:], going[:]
    price = Price("203.10")
    held = weakref.ref(price)
    feed.publish(price)
    del price
    await turns()
    feed.publish(Price("203.20"))  # the one that stays lets go of the price before
    await turns()
    gc.collect()
    is_held = held() is not None
    stayer.cancel()
    await asyncio.gather(stayer, return_exceptions=True)
    return staying.seen, is_held


async def by_cancellation(feed, going, leavers):
    for task in leavers:
        task.cancel()
    await asyncio.gather(*leavers, return_exceptions=True)


async def by_an_error(feed, going, leavers):
    for client in going:
        client.broken = True
    feed.publish(Price("202.95"))
    await turns()
    await asyncio.gather(*leavers, return_exceptions=True)


async def test_every_client_gets_every_price(answer, evidence):
    """Each client that is there gets every price, in order."""
    evidence.given("two clients, and 50 prices at once")
    feed, clients = answer.PriceFeed(), [Client(), Client()]
    tasks = [asyncio.create_task(feed.watch(client.send)) for client in clients]
    await turns()
    for number in range(50):
        feed.publish(Price(str(number)))
    for _ in range(10):
        await turns()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    evidence.got([f"{len(client.seen)} prices" for client in clients])
    expected = [str(number) for number in range(50)]
    assert all(client.seen == expected for client in clients), "A price is missing, or out of order."


async def test_who_is_cancelled_is_forgotten(answer, evidence):
    """For a client whose request was cancelled, no price is kept."""
    evidence.given("three clients whose requests are cancelled, and a price afterwards")
    _, is_held = await stays_and_goes(answer, by_cancellation)
    evidence.got("the price is still held" if is_held else "nobody holds the price")
    assert not is_held, "Everybody who is there has the price, and it is still kept for somebody."


async def test_who_breaks_off_is_forgotten(answer, evidence):
    """For a client whose `send` raised an error, no price is kept."""
    evidence.given("three clients whose `send` raises, and a price afterwards")
    _, is_held = await stays_and_goes(answer, by_an_error)
    evidence.got("the price is still held" if is_held else "nobody holds the price")
    assert not is_held, "Everybody who is there has the price, and it is still kept for somebody."


async def test_who_stays_goes_on(answer, evidence):
    """When others leave, a client that stays gets all prices as before."""
    evidence.given("one client that stays, while three others leave")
    seen, _ = await stays_and_goes(answer, by_cancellation)
    evidence.got(seen)
    assert seen == ["202.91", "203.10", "203.20"], "The client that stayed missed a price."
