import asyncio
import threading

#: Long enough that a stalled loop is no accident, also on a busy machine.
STALL_S = 1.0


async def test_the_quote_is_right(answer, evidence, http):
    """GET /quotes/IBM still answers with the price that the exchange names."""
    answer.fetch_price = lambda symbol: {"IBM": "202.91"}[symbol]
    evidence.given("GET /quotes/IBM, and an exchange that says 202.91")
    reply = await http(answer.app).get("/quotes/IBM")
    evidence.got(reply)
    assert reply.status_code == 200, "The status is not 200."
    assert reply.json() == {"symbol": "IBM", "price": "202.91"}, "This is another quote."


async def test_the_loop_goes_on(answer, evidence, http):
    """While one request waits for the exchange, the event loop goes on with other work."""
    thread_of_the_loop = threading.current_thread()
    loop_went_on = threading.Event()
    was_stalled = []

    def fetch_price(symbol):
        # The loop sets the event as soon as it gets a turn; if this call blocks the loop, it never does.
        on_the_loop = threading.current_thread() is thread_of_the_loop
        was_stalled.append(on_the_loop or not loop_went_on.wait(STALL_S))
        return "202.91"

    answer.fetch_price = fetch_price
    evidence.given("a request, and beside it a task of the same loop that needs one turn")
    request = asyncio.create_task(http(answer.app).get("/quotes/IBM"))
    while not was_stalled and not request.done():
        await asyncio.sleep(0.001)
        loop_went_on.set()
    await request
    stalled = any(was_stalled)
    evidence.got("the task got no turn before the exchange had answered" if stalled else "the task ran")
    assert was_stalled, "The exchange was not asked."
    assert not stalled, "The call to the exchange stops the event loop."


async def test_requests_wait_side_by_side(answer, evidence, http):
    """Four requests wait for the exchange at the same time, not one after the other."""
    together = threading.Barrier(4)

    def fetch_price(symbol):
        # Nobody passes before all four are here.
        together.wait(timeout=STALL_S)
        return "202.91"

    answer.fetch_price = fetch_price
    evidence.given("four requests at once, and an exchange that answers when all four have asked")
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(http(answer.app).get("/quotes/IBM"))
    except* threading.BrokenBarrierError:
        evidence.got("never were all four at the exchange")
        raise AssertionError("The requests queue: one waits until the other has its price.") from None
