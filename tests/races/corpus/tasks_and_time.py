"""Cases with cancelled tasks and with time. The form is that of memory.py."""

import asyncio
import importlib.util
import sys
import time
from pathlib import Path
from types import SimpleNamespace

_spec = importlib.util.spec_from_file_location("races_corpus_memory", Path(__file__).with_name("memory.py"))
memory = sys.modules.setdefault(_spec.name, importlib.util.module_from_spec(_spec))
if not hasattr(memory, "CASES"):
    _spec.loader.exec_module(memory)
WRONG, RIGHT, Case, io = memory.WRONG, memory.RIGHT, memory.Case, memory.io
CASES = []


def case(truth, reason, *, make, check, requests=None, **options):
    def register(function):
        both = requests or {"A": function, "B": function}
        CASES.append(Case(function.__name__, truth, reason, make, both, check, options))
        return function

    return register


def two_accounts():
    return SimpleNamespace(
        x=100, y=0, lock=asyncio.Lock(), tasks=set(), inflight={}, cache={}, slots=1, open=0
    )


def sum_and_lock(s, results):
    assert s.x + s.y == 100, f"x={s.x} y={s.y}"
    assert not s.lock.locked(), "the lock is never given back"


moving = {"make": two_accounts, "check": sum_and_lock, "cancel": ("A",)}


async def move(s):
    s.x -= 10
    await io()
    s.y += 10


@case(WRONG, "cancelled between the two writes, the money is gone", **moving)
async def two_writes_under_a_lock(s):
    async with s.lock:
        await move(s)


@case(WRONG, "CancelledError is not an Exception, so nothing is put back", **moving)
async def put_back_on_exception(s):
    async with s.lock:
        before = (s.x, s.y)
        try:
            await move(s)
        except Exception:
            s.x, s.y = before
            raise


@case(RIGHT, "put back whatever happens", **moving)
async def put_back_on_base_exception(s):
    async with s.lock:
        before = (s.x, s.y)
        try:
            await move(s)
        except BaseException:
            s.x, s.y = before
            raise


@case(WRONG, "cancelled inside, the lock is never released", **moving)
async def lock_without_finally(s):
    await s.lock.acquire()
    await io()
    s.x -= 10
    s.y += 10
    s.lock.release()


@case(RIGHT, "finally gives the lock back", **moving)
async def lock_with_finally(s):
    await s.lock.acquire()
    try:
        await io()
        s.x -= 10
        s.y += 10
    finally:
        s.lock.release()


@case(WRONG, "only the second write is shielded", **moving)
async def half_of_it_shielded(s):
    async with s.lock:
        s.x -= 10
        await io()

        async def second():
            await io()
            s.y += 10

        await asyncio.shield(second())


async def careful_move(s):
    x, y = s.x, s.y
    await io()
    s.x = x - 10
    await io()
    s.y = y + 10


@case(WRONG, "the lock is given back while the shielded work still runs", **moving)
async def shield_inside_of_the_lock(s):
    async with s.lock:
        task = asyncio.create_task(careful_move(s))
        s.tasks.add(task)
        await asyncio.shield(task)


@case(RIGHT, "the shielded work holds the lock itself", **moving)
async def lock_inside_of_the_shield(s):
    async def work():
        async with s.lock:
            await move(s)

    task = asyncio.create_task(work())
    s.tasks.add(task)
    await asyncio.shield(task)


@case(RIGHT, "both writes are one step", **moving)
async def writes_without_an_await(s):
    async with s.lock:
        await io()
        s.x -= 10
        s.y += 10


@case(
    WRONG,
    "a cancelled leader leaves its followers waiting for ever",
    make=two_accounts,
    check=None,
    cancel=("A",),
)
async def leader_is_cancelled(s):
    if "k" in s.cache:
        return s.cache["k"]
    if "k" in s.inflight:
        return await s.inflight["k"]
    future = s.inflight["k"] = asyncio.get_running_loop().create_future()
    await io()
    s.cache["k"] = "value"
    future.set_result("value")
    del s.inflight["k"]
    return "value"


@case(
    WRONG,
    "a cancelled request keeps its slot",
    make=two_accounts,
    check=lambda s, r: s.slots == 1,
    cancel=("A",),
)
async def slot_without_finally(s):
    if s.slots == 0:
        return "busy"
    s.slots -= 1
    await io()
    s.slots += 1
    return "done"


@case(RIGHT, "finally gives the slot back", make=two_accounts, check=lambda s, r: s.slots == 1, cancel=("A",))
async def slot_with_finally(s):
    if s.slots == 0:
        return "busy"
    s.slots -= 1
    try:
        await io()
    finally:
        s.slots += 1
    return "done"


@case(
    WRONG, "the gauge is not counted down", make=two_accounts, check=lambda s, r: s.open == 0, cancel=("A",)
)
async def gauge_without_finally(s):
    s.open += 1
    await io()
    s.open -= 1


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
    raise AssertionError("not called")


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
    raise AssertionError("not called")


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
    raise AssertionError("not called")


@case(
    RIGHT,
    "a write with an old token is refused",
    make=clocked,
    check=in_order,
    requests={"A": lease(True), "B": lease(True)},
    clock_jumps=(11,),
)
async def lease_with_fencing(s):
    raise AssertionError("not called")


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
    raise AssertionError("not called")


@case(
    RIGHT,
    "an idempotency key makes the second charge a repetition",
    make=clocked,
    check=lambda s, r: s.charged <= 1,
    requests={"A": charge(True)},
)
async def retry_with_a_key(s):
    raise AssertionError("not called")


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
    raise AssertionError("not called")


@case(
    RIGHT,
    "looking and counting are one step",
    make=clocked,
    check=lambda s, r: sum(r.values()) == 1,
    requests={"A": limiter(False), "B": limiter(False)},
)
async def limiter_counts_at_once(s):
    raise AssertionError("not called")


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
    raise AssertionError("not called")


@case(
    RIGHT,
    "it looks right before the use",
    make=clocked,
    check=lambda s, r: all(r.values()),
    requests={"A": use_token(True), "B": use_token(True)},
    clock_jumps=(31,),
)
async def token_looked_at_last(s):
    raise AssertionError("not called")
