"""Timeouts and cancellations that meet a request which holds something."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def office():
    return SimpleNamespace(
        total=0,
        lock=asyncio.Lock(),
        held=0,
        active=0,
        seats=1,
        tickets=[],
        inside=0,
        peak=0,
        charges=[],
    )


async def notify(s):
    await asyncio.sleep(0.5)


async def timeout_in_the_middle(s):
    try:
        async with asyncio.timeout(1):
            s.seats -= 1
            await notify(s)
            s.tickets.append(1)
    except TimeoutError:
        return 504


async def timeout_gives_back(s):
    try:
        async with asyncio.timeout(1):
            s.seats -= 1
            try:
                await notify(s)
            except BaseException:
                s.seats += 1
                raise
            s.tickets.append(1)
    except TimeoutError:
        return 504


def seat_or_ticket(s, r):
    return s.seats + len(s.tickets) == 1


case(
    WRONG,
    "the time is over after the seat is taken and before the ticket is written: the seat is lost",
    make=office,
    check=seat_or_ticket,
    requests={"A": timeout_in_the_middle},
)(timeout_in_the_middle)

case(
    RIGHT,
    "a timeout arrives at the only await, and there the seat is given back",
    make=office,
    check=seat_or_ticket,
    requests={"A": timeout_gives_back},
)(timeout_gives_back)


async def at_the_desk(s):
    s.inside += 1
    s.peak = max(s.peak, s.inside)
    await asyncio.sleep(2)
    s.inside -= 1


async def release_what_is_locked(s):
    try:
        await asyncio.wait_for(s.lock.acquire(), 1)
        await at_the_desk(s)
    except TimeoutError:
        return 503
    finally:
        if s.lock.locked():
            s.lock.release()


async def release_what_is_mine(s):
    try:
        async with asyncio.timeout(1):
            await s.lock.acquire()
    except TimeoutError:
        return 503
    try:
        await at_the_desk(s)
    finally:
        s.lock.release()


case(
    WRONG,
    "the one whose wait timed out finds the lock locked and releases it: it is the lock of another",
    make=office,
    check=lambda s, r: s.peak <= 1,
    requests=dict.fromkeys("ABC", release_what_is_locked),
)(release_what_is_locked)

case(
    RIGHT,
    "only who came past the timeout reaches the release",
    make=office,
    check=lambda s, r: s.peak <= 1 and s.inside == 0,
    requests=dict.fromkeys("AB", release_what_is_mine),
)(release_what_is_mine)


async def cancelled_before_the_try(s):
    await s.lock.acquire()
    await io()
    try:
        s.total += 1
    finally:
        s.lock.release()


async def cancelled_inside_the_with(s):
    async with s.lock:
        await io()
        s.total += 1


case(
    WRONG,
    "cancelled between acquire and try, the holder leaves the lock locked for ever",
    make=office,
    check=lambda s, r: not s.lock.locked(),
    requests={"A": cancelled_before_the_try, "B": cancelled_before_the_try},
    cancel=("A",),
)(cancelled_before_the_try)

case(
    RIGHT,
    "wherever the holder is cancelled, the with statement releases",
    make=office,
    check=lambda s, r: s.total >= 1 and not s.lock.locked(),
    requests={"A": cancelled_inside_the_with, "B": cancelled_inside_the_with},
    cancel=("A",),
)(cancelled_inside_the_with)


async def counted_down_after_an_await(s):
    s.active += 1
    try:
        await io()
    finally:
        await io()
        s.active -= 1


async def counted_down_before_an_await(s):
    s.active += 1
    try:
        await io()
    finally:
        s.active -= 1
        await io()


case(
    WRONG,
    "an await in the finally can be cancelled as well, and what stands after it is skipped",
    make=office,
    check=lambda s, r: s.active == 0,
    requests={"A": counted_down_after_an_await},
    cancel=("A",),
)(counted_down_after_an_await)

case(
    RIGHT,
    "what must happen happens first in the finally, and only the farewell can be cancelled",
    make=office,
    check=lambda s, r: s.active == 0,
    requests={"A": counted_down_before_an_await},
    cancel=("A",),
)(counted_down_before_an_await)


@case(
    WRONG,
    "a cancellation is no Exception, so the hold is not taken back",
    make=office,
    check=lambda s, r: s.held == len(s.charges),
    cancel=("A",),
)
async def compensation_for_exceptions_only(s):
    s.held += 1
    try:
        await io()
    except Exception:
        s.held -= 1
        raise
    s.charges.append(1)


async def commit(s):
    s.inside += 1
    s.peak = max(s.peak, s.inside)
    await io()
    s.total += 1
    s.inside -= 1


async def commit_under_its_own_lock(s):
    async with s.lock:
        await commit(s)


async def lock_around_the_shield(s):
    async with s.lock:
        await asyncio.shield(commit(s))


async def lock_behind_the_shield(s):
    await asyncio.shield(commit_under_its_own_lock(s))


case(
    WRONG,
    "the shielded commit goes on after the cancellation, the lock around it does not",
    make=office,
    check=lambda s, r: s.peak <= 1,
    requests={"A": lock_around_the_shield, "B": lock_around_the_shield},
    cancel=("A",),
)(lock_around_the_shield)

case(
    RIGHT,
    "what is shielded holds the lock itself, for as long as it runs",
    make=office,
    check=lambda s, r: s.peak <= 1,
    requests={"A": lock_behind_the_shield, "B": lock_behind_the_shield},
    cancel=("A",),
)(lock_behind_the_shield)
