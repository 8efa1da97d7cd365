import asyncio
import contextlib
import threading

#: Long enough to be no accident, also on a busy machine.
WAIT_S = 1.0


async def test_all_three_answer(answer, evidence, http):
    """A rate, a report and an order are answered with 200 and the right body."""
    expected = {
        ("GET", "/rates/EUR"): {"currency": "EUR", "rate": "1.08"},
        ("GET", "/reports/friday"): {"day": "friday", "report": "12 orders"},
        ("POST", "/orders"): {"number": 1},
    }
    for (method, path), body in expected.items():
        evidence.given(f"{method} {path}")
        evidence.expected(body)
        reply = await http(answer.app).request(method, path)
        evidence.got(reply)
        assert reply.status_code == 200, "The status is not 200."
        assert reply.json() == body, "The body is another one."


async def test_the_report_leaves_the_loop_free(answer, evidence, http):
    """While the library writes a report, the event loop goes on with other requests."""
    thread_of_the_loop = threading.current_thread()
    loop_went_on = threading.Event()
    stalled = []

    def write_report(day):
        on_the_loop = threading.current_thread() is thread_of_the_loop
        stalled.append(on_the_loop or not loop_went_on.wait(WAIT_S))
        return "12 orders"

    answer.write_report = write_report
    evidence.given("GET /reports/friday, and beside it a task of the same loop that needs one turn")
    request = asyncio.create_task(http(answer.app).get("/reports/friday"))
    while not stalled and not request.done():
        await asyncio.sleep(0.001)
        loop_went_on.set()
    await request
    evidence.got("the task got no turn until the report was written" if any(stalled) else "the task ran")
    assert stalled, "The library was not asked for a report."
    assert not any(stalled), "The report is written on the event loop."


class WatchedCounter:
    """Holds threads that have read the value until a second one has read it too, if one comes."""

    def __init__(self):
        self._value = 0
        self._loop_thread = threading.current_thread()
        self._both_have_read = threading.Barrier(2)

    @property
    def value(self):
        seen = self._value
        if threading.current_thread() is not self._loop_thread:
            # Broken: nobody else came in between, so nothing was lost.
            with contextlib.suppress(threading.BrokenBarrierError):
                self._both_have_read.wait(timeout=0.3)
        return seen

    @value.setter
    def value(self, new):
        self._value = new


async def test_no_order_number_is_given_twice(answer, evidence, http):
    """Two orders at the same moment get the numbers 1 and 2."""
    answer.orders = WatchedCounter()
    evidence.given("two orders at the same moment")
    replies = await asyncio.gather(*(http(answer.app).post("/orders") for _ in range(2)))
    numbers = sorted(reply.json().get("number") for reply in replies)
    evidence.got(f"the numbers {numbers[0]} and {numbers[1]}")
    assert numbers == [1, 2], "Two threads have read the same number before either wrote the next one."


async def test_the_rate_is_asked_on_the_loop_of_the_app(answer, evidence, http):
    """The async client is awaited on the event loop of the app, where its connections live."""
    loops = []

    async def ask_rate(currency):
        loops.append(asyncio.get_running_loop())
        return "1.08"

    answer.ask_rate = ask_rate
    evidence.given("GET /rates/EUR")
    await http(answer.app).get("/rates/EUR")
    ours = asyncio.get_running_loop()
    evidence.got(
        "asked on the loop of the app" if loops == [ours] else "asked on a loop made for this request"
    )
    assert loops, "The client was not asked for the rate."
    assert loops == [ours], "Each request makes a loop of its own, so connections cannot be kept and shared."
