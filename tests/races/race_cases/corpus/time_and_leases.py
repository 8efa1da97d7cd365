"""Late arrivals, leases, timeouts and limits: what the clock decides."""

import asyncio
import time
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, collector, io

CASES = []
case = collector(CASES)


def clocked():
    return SimpleNamespace(
        value=1,
        cache=None,
        until=0.0,
        loads=0,
        hits=0,
        token=0,
        holder=None,
        written=[],
        lock=asyncio.Lock(),
        charged=0,
        started=0.0,
    )


async def fill(s):
    value = s.value
    await asyncio.sleep(1)
    s.cache = value


async def change_and_forget(s):
    await asyncio.sleep(0.5)
    s.value = 2
    s.cache = None


@case(
    WRONG,
    "an old value arrives after the invalidation and stays",
    make=clocked,
    check=lambda s, r: s.cache in (None, 2),
    requests={"A": fill, "B": change_and_forget},
)
async def late_arrival(s):
    raise AssertionError("this function only gives the case its name")


async def fill_if_unchanged(s):
    value = s.value
    await asyncio.sleep(1)
    if value == s.value:
        s.cache = value


@case(
    RIGHT,
    "the value is stored only if nothing has changed meanwhile",
    make=clocked,
    check=lambda s, r: s.cache in (None, 2),
    requests={"A": fill_if_unchanged, "B": change_and_forget},
)
async def late_arrival_refused(s):
    raise AssertionError("this function only gives the case its name")


def lease(checked):
    async def work(s):
        loop = asyncio.get_running_loop()
        while s.holder is not None and s.until > loop.time():  # noqa: ASYNC110 - a lease has no event
            await asyncio.sleep(s.until - loop.time())
        s.token += 1
        mine = s.holder = s.token
        s.until = loop.time() + 10
        await asyncio.sleep(5)
        await io()
        if checked and s.written and s.written[-1] > mine:
            return "too late"
        s.written.append(mine)
        return "written"

    return work


in_order = lambda s, r: s.written == sorted(s.written)  # noqa: E731


@case(
    WRONG,
    "the lease may have run out when the write arrives",
    make=clocked,
    check=in_order,
    requests={"A": lease(False), "B": lease(False)},
    clock_jumps=(11,),
)
async def lease_without_fencing(s):
    raise AssertionError("this function only gives the case its name")


@case(
    RIGHT,
    "a write with an old token is refused",
    make=clocked,
    check=in_order,
    requests={"A": lease(True), "B": lease(True)},
    clock_jumps=(11,),
)
async def lease_with_fencing(s):
    raise AssertionError("this function only gives the case its name")


def charge(key_is_kept):
    async def request(s):
        async def provider():
            await asyncio.sleep(2)
            if not (key_is_kept and s.charged):
                s.charged += 1

        for _ in range(2):
            task = asyncio.create_task(provider())
            try:
                await asyncio.wait_for(asyncio.shield(task), 1)
            except TimeoutError:
                continue
            return

    return request


@case(
    WRONG,
    "the first charge goes through after its timeout",
    make=clocked,
    check=lambda s, r: s.charged <= 1,
    requests={"A": charge(False)},
)
async def retry_after_a_timeout(s):
    raise AssertionError("this function only gives the case its name")


@case(
    RIGHT,
    "an idempotency key makes the second charge a repetition",
    make=clocked,
    check=lambda s, r: s.charged <= 1,
    requests={"A": charge(True)},
)
async def retry_with_a_key(s):
    raise AssertionError("this function only gives the case its name")


def limiter(awaits):
    async def request(s):
        now = time.monotonic()
        if now - s.started >= 60:
            s.started, s.hits = now, 0
        if s.hits >= 1:
            return False
        if awaits:
            await io()
        s.hits += 1
        return True

    return request


@case(
    WRONG,
    "both are counted after both were let in",
    make=clocked,
    check=lambda s, r: sum(r.values()) == 1,
    requests={"A": limiter(True), "B": limiter(True)},
)
async def limiter_counts_too_late(s):
    raise AssertionError("this function only gives the case its name")


@case(
    RIGHT,
    "looking and counting are one step",
    make=clocked,
    check=lambda s, r: sum(r.values()) == 1,
    requests={"A": limiter(False), "B": limiter(False)},
)
async def limiter_counts_at_once(s):
    raise AssertionError("this function only gives the case its name")


def use_token(looks_again):
    async def request(s):
        if time.monotonic() >= s.until:
            s.until = time.monotonic() + 30
        await io()
        if looks_again and time.monotonic() >= s.until:
            s.until = time.monotonic() + 30
        return time.monotonic() < s.until

    return request


@case(
    WRONG,
    "the token runs out between the look and the use",
    make=clocked,
    check=lambda s, r: all(r.values()),
    requests={"A": use_token(False), "B": use_token(False)},
    clock_jumps=(31,),
)
async def token_looked_at_too_early(s):
    raise AssertionError("this function only gives the case its name")


@case(
    RIGHT,
    "it looks right before the use",
    make=clocked,
    check=lambda s, r: all(r.values()),
    requests={"A": use_token(True), "B": use_token(True)},
    clock_jumps=(31,),
)
async def token_looked_at_last(s):
    raise AssertionError("this function only gives the case its name")
