"""anyio, a barrier, awaitables of one's own, an executor and a clock without a timer."""

import asyncio
import time
from types import SimpleNamespace

import anyio
import anyio.lowlevel

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def hall():
    return SimpleNamespace(
        total=0,
        anyio_lock=None,
        limiter=None,
        barrier=asyncio.Barrier(2),
        code=None,
        code_until=0.0,
        sold=0,
        free=1,
        found=[],
    )


async def add_one(s):
    total = s.total
    await io()
    s.total = total + 1


def two_added(s, r):
    return s.total == 2


@case(WRONG, "anyio's checkpoint lets others run like any other await", make=hall, check=two_added)
async def read_checkpoint_write(s):
    total = s.total
    await anyio.lowlevel.checkpoint()
    s.total = total + 1


@case(RIGHT, "an anyio lock that all requests share lets one in at a time", make=hall, check=two_added)
async def anyio_lock_around_both(s):
    if s.anyio_lock is None:
        s.anyio_lock = anyio.Lock()
    async with s.anyio_lock:
        await add_one(s)


@case(WRONG, "the capacity limiter has two places, and the sum bears one", make=hall, check=two_added)
async def limiter_with_a_place_too_many(s):
    if s.limiter is None:
        s.limiter = anyio.CapacityLimiter(2)
    async with s.limiter:
        await add_one(s)


def seat_within_a_second(*round_trips_s):
    async def take(s):
        if not s.free:
            return 409
        s.free -= 1
        try:
            with anyio.fail_after(1):
                try:
                    for seconds in round_trips_s:
                        await asyncio.sleep(seconds)
                except Exception:
                    s.free += 1
                    raise
        except TimeoutError:
            return 504
        s.sold += 1
        return 200

    return take


def seat_or_sale(s, r):
    return s.free + s.sold == 1


# This was first labelled wrong, like its twin with asyncio.timeout. Read by hand, it is right: the clock goes
# to 0.5 and to 1 before A runs. asyncio.timeout cancels then, but anyio cancels no task whose wait is over,
# and A does not wait again.
def fail_after_one_round_trip(seconds=0.5):
    return seat_within_a_second(seconds)


case(
    RIGHT,
    "one wait shorter than the limit: when it is over, anyio has nothing left that it could cancel",
    make=hall,
    check=seat_or_sale,
    requests=dict.fromkeys("AB", fail_after_one_round_trip()),
)(fail_after_one_round_trip)


def fail_after_two_round_trips(seconds=0.4):
    return seat_within_a_second(seconds, seconds)


case(
    WRONG,
    "read late after the first wait, it is cancelled in the second, and a cancellation is no Exception",
    make=hall,
    check=seat_or_sale,
    requests=dict.fromkeys("AB", fail_after_two_round_trips()),
)(fail_after_two_round_trips)


async def write_after_the_barrier(s):
    await s.barrier.wait()
    s.total += 1


case(
    RIGHT,
    "whoever comes through the barrier first, each adds in one step",
    make=hall,
    check=two_added,
    requests={"A": write_after_the_barrier, "B": write_after_the_barrier},
)(write_after_the_barrier)


class Turn:
    """An awaitable of the desk's own: it gives the loop one turn."""

    def __await__(self):
        yield


@case(
    WRONG,
    "a bare yield in __await__ is a suspension, although no coroutine is called",
    make=hall,
    check=two_added,
)
async def awaitable_that_yields(s):
    total = s.total
    await Turn()
    s.total = total + 1


class Ready:
    """An awaitable that never suspends."""

    def __await__(self):
        return iter(())


@case(RIGHT, "an await that does not suspend lets nobody else run", make=hall, check=two_added)
async def awaitable_that_does_not_yield(s):
    total = s.total
    await Ready()
    s.total = total + 1


@case(RIGHT, "awaiting a coroutine that awaits nothing does not suspend either", make=hall, check=two_added)
async def await_without_a_suspension(s):
    async def tax():
        return 1

    s.total = s.total + await tax()


async def first_of_two(s):
    # Tasks, not coroutines: as_completed makes a set of what it is given, and starts coroutines in its order.
    asked = [asyncio.create_task(house(name)) for name in ("north", "south")]
    for found in asyncio.as_completed(asked):
        s.found.append(await found)
        break


async def house(name):
    await io()
    return name


case(
    WRONG,
    "as_completed gives what is ready first, and that is not always the first in the list",
    make=hall,
    check=lambda s, r: s.found == ["north"],
    requests={"A": first_of_two},
)(first_of_two)


async def use_code(s):
    if s.code is None or time.monotonic() > s.code_until:
        return
    await io()
    s.found.append(time.monotonic() <= s.code_until)


async def issue_code(s):
    s.code, s.code_until = "1234", time.monotonic() + 30


async def use_code_checked_last(s):
    await io()
    if s.code is None or time.monotonic() > s.code_until:
        return
    s.found.append(time.monotonic() <= s.code_until)


case(
    WRONG,
    "the code is good when it is looked at and has run out when it is used",
    make=hall,
    check=lambda s, r: all(s.found),
    requests={"issue": issue_code, "use": use_code},
    clock_jumps=(31,),
)(use_code)

case(
    RIGHT,
    "the time is looked at in the step that uses the code",
    make=hall,
    check=lambda s, r: all(s.found),
    requests={"issue": issue_code, "use": use_code_checked_last},
    clock_jumps=(31,),
)(use_code_checked_last)


async def in_an_executor(s):
    def add():
        total = s.total
        s.total = total + 1

    await asyncio.get_running_loop().run_in_executor(None, add)


case(
    WRONG,
    "the two lines run in the default executor, in two threads at once",
    make=hall,
    check=two_added,
    requests={"A": in_an_executor, "B": in_an_executor},
)(in_an_executor)
