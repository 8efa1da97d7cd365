"""Cases in memory. Each case: truth (WRONG or RIGHT), how to make the subject, the requests, the rule, the
reason.

Written from what the code means, not from what the explorer says about it.
"""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

WRONG, RIGHT = "wrong", "right"


@dataclass
class Case:
    name: str
    truth: str
    reason: str
    make: Any
    requests: dict
    check: Any
    options: dict = field(default_factory=dict)


CASES = []


def case(truth, reason, *, make, check, requests=None, **options):
    def register(function):
        both = requests or {"A": function, "B": function}
        CASES.append(Case(function.__name__, truth, reason, make, both, check, options))
        return function

    return register


async def io():
    """Stand for a round trip: others run meanwhile."""
    await asyncio.sleep(0)


class Store:
    """A database in memory: each call is one round trip and atomic."""

    def __init__(self, **values):
        self.values = values

    async def get(self, key):
        await io()
        return self.values.get(key)

    async def set(self, key, value):
        await io()
        self.values[key] = value

    async def take(self, key, amount):
        await io()
        if self.values[key] < amount:
            return False
        self.values[key] -= amount
        return True

    async def compare_and_set(self, key, old, new):
        await io()
        if self.values[key] != old:
            return False
        self.values[key] = new
        return True

    async def insert(self, key, value):
        await io()
        if key in self.values:
            return False
        self.values[key] = value
        return True


def account():
    return SimpleNamespace(store=Store(balance=100), lock=asyncio.Lock(), locks={}, busy=False, tasks=set())


def money_is_kept(subject, results):
    paid = sum(result is True for result in results.values())
    balance = subject.store.values["balance"]
    assert balance == 100 - 60 * paid, f"{paid} of 60 paid out of 100, but the balance is {balance}"
    assert balance >= 0


withdrawal = {"make": account, "check": money_is_kept}


async def pay(subject):
    balance = await subject.store.get("balance")
    if balance < 60:
        return False
    await subject.store.set("balance", balance - 60)
    return True


@case(WRONG, "both read 100 before either writes 40", **withdrawal)
async def read_then_write(s):
    return await pay(s)


@case(RIGHT, "one lock around read and write", **withdrawal)
async def lock_around_both(s):
    async with s.lock:
        return await pay(s)


@case(WRONG, "every request makes a lock of its own", **withdrawal)
async def lock_made_in_the_request(s):
    async with asyncio.Lock():
        return await pay(s)


@case(WRONG, "the read is outside of the lock", **withdrawal)
async def lock_around_the_write(s):
    balance = await s.store.get("balance")
    if balance < 60:
        return False
    async with s.lock:
        await s.store.set("balance", balance - 60)
    return True


@case(WRONG, "the balance can change between the second read and the write", **withdrawal)
async def read_again_before_writing(s):
    balance = await s.store.get("balance")
    if balance < 60 or await s.store.get("balance") != balance:
        return False
    await s.store.set("balance", balance - 60)
    return True


@case(WRONG, "the lock is made after an await, so the second request replaces it", **withdrawal)
async def lock_made_lazily_after_an_await(s):
    if "account" not in s.locks:
        await io()
        s.locks["account"] = asyncio.Lock()
    async with s.locks["account"]:
        return await pay(s)


@case(RIGHT, "setdefault makes and stores the lock without an await in between", **withdrawal)
async def lock_made_lazily_at_once(s):
    async with s.locks.setdefault("account", asyncio.Lock()):
        return await pay(s)


@case(WRONG, "the lock is given up between check and write", **withdrawal)
async def lock_given_up_in_the_middle(s):
    async with s.lock:
        balance = await s.store.get("balance")
    if balance < 60:
        return False
    async with s.lock:
        await s.store.set("balance", balance - 60)
    return True


@case(WRONG, "two may pass a semaphore of two", **withdrawal)
async def semaphore_of_two(s):
    async with s.locks.setdefault("semaphore", asyncio.Semaphore(2)):
        return await pay(s)


@case(RIGHT, "a semaphore of one is a lock", **withdrawal)
async def semaphore_of_one(s):
    async with s.locks.setdefault("semaphore", asyncio.Semaphore(1)):
        return await pay(s)


@case(RIGHT, "check and change are one atomic call", **withdrawal)
async def atomic_take(s):
    return await s.store.take("balance", 60)


@case(WRONG, "the result of compare-and-set is ignored", **withdrawal)
async def compare_and_set_unchecked(s):
    balance = await s.store.get("balance")
    if balance < 60:
        return False
    await s.store.compare_and_set("balance", balance, balance - 60)
    return True


@case(WRONG, "it compares with a value that it has read again, not with the one it decided on", **withdrawal)
async def compare_with_a_fresh_read(s):
    balance = await s.store.get("balance")
    if balance < 60:
        return False
    await s.store.compare_and_set("balance", await s.store.get("balance"), balance - 60)
    return True


@case(RIGHT, "a failed compare-and-set starts over with a new read", **withdrawal)
async def compare_and_set_in_a_loop(s):
    while True:
        balance = await s.store.get("balance")
        if balance < 60:
            return False
        if await s.store.compare_and_set("balance", balance, balance - 60):
            return True


@case(WRONG, "the flag is set one await after it was looked at", **withdrawal)
async def busy_flag_set_too_late(s):
    while s.busy:
        await io()
    await io()
    s.busy = True
    try:
        return await pay(s)
    finally:
        s.busy = False


@case(RIGHT, "nothing can come between looking at the flag and setting it", **withdrawal)
async def busy_flag_refuses_at_once(s):
    if s.busy:
        return False
    s.busy = True
    try:
        return await pay(s)
    finally:
        s.busy = False


@case(WRONG, "an event lets everybody through who waited", **withdrawal)
async def event_as_a_lock(s):
    free = s.locks.get("event")
    if free is None:
        free = s.locks["event"] = asyncio.Event()
        free.set()
    await free.wait()
    await io()
    free.clear()
    try:
        return await pay(s)
    finally:
        free.set()


def money_for_three_is_kept(subject, results):
    paid = sum(result is True for result in results.values())
    balance = subject.store.values["balance"]
    assert balance == 200 - 60 * paid, f"{paid} of 60 paid out of 200, but the balance is {balance}"


async def with_if(s):
    condition = s.locks.setdefault("condition", asyncio.Condition())
    async with condition:
        if s.busy:
            await condition.wait()
        s.busy = True
    try:
        return await pay(s)
    finally:
        s.busy = False
        async with condition:
            condition.notify_all()


def rich_account():
    subject = account()
    subject.store.values["balance"] = 200
    return subject


@case(
    WRONG,
    "an `if` around wait() does not look again after waking up",
    make=rich_account,
    check=money_for_three_is_kept,
    requests=dict.fromkeys("ABC", with_if),
)
async def condition_with_if(s):
    raise AssertionError("not called")


@case(RIGHT, "the condition is looked at again after each wake-up", **withdrawal)
async def condition_with_while(s):
    condition = s.locks.setdefault("condition", asyncio.Condition())
    async with condition:
        while s.busy:
            await condition.wait()
        s.busy = True
    try:
        return await pay(s)
    finally:
        async with condition:
            s.busy = False
            condition.notify_all()


@case(WRONG, "the whole record is copied, changed and put back", **withdrawal)
async def snapshot_put_back(s):
    copy = dict(s.store.values)
    await io()
    if copy["balance"] < 60:
        return False
    copy["balance"] -= 60
    s.store.values.update(copy)
    return True


async def deposit_with_another_lock(s):
    async with s.locks.setdefault("deposit", asyncio.Lock()):
        balance = await s.store.get("balance")
        await s.store.set("balance", balance + 10)
    return "deposited"


def deposit_is_kept(subject, results):
    paid = sum(result is True for result in results.values())
    assert subject.store.values["balance"] == 110 - 60 * paid


@case(
    WRONG,
    "two endpoints guard the same balance with two locks",
    make=account,
    check=deposit_is_kept,
    requests={"A": lock_around_both, "B": deposit_with_another_lock},
)
async def two_locks_for_one_balance(s):
    raise AssertionError("not called")


def two_accounts():
    return SimpleNamespace(balance={"x": 100, "y": 100}, locks={"x": asyncio.Lock(), "y": asyncio.Lock()})


def sum_is_kept(subject, results):
    assert sum(subject.balance.values()) == 200, subject.balance


def transfer(first, second, source, target):
    async def move(s):
        async with s.locks[first]:
            await io()
            async with s.locks[second]:
                s.balance[source] -= 10
                await io()
                s.balance[target] += 10

    return move


@case(
    WRONG,
    "each takes the lock that the other one waits for",
    make=two_accounts,
    check=sum_is_kept,
    requests={"A": transfer("x", "y", "x", "y"), "B": transfer("y", "x", "y", "x")},
)
async def locks_in_opposite_order(s):
    raise AssertionError("not called")


@case(
    RIGHT,
    "both take the locks in the same order",
    make=two_accounts,
    check=sum_is_kept,
    requests={"A": transfer("x", "y", "x", "y"), "B": transfer("x", "y", "y", "x")},
)
async def locks_in_one_order(s):
    raise AssertionError("not called")


async def look_at_the_sum(s):
    x = s.balance["x"]
    await io()
    return x + s.balance["y"]


async def look_at_the_sum_locked(s):
    async with s.locks["x"], s.locks["y"]:
        return await look_at_the_sum(s)


def sum_is_seen(subject, results):
    assert results["B"] == 200, f"the reader saw {results['B']} instead of 200"


@case(
    WRONG,
    "only writers lock, so a reader sees money that is on its way",
    make=two_accounts,
    check=sum_is_seen,
    requests={"A": transfer("x", "y", "x", "y"), "B": look_at_the_sum},
)
async def reader_without_the_lock(s):
    raise AssertionError("not called")


@case(
    RIGHT,
    "the reader takes the same locks",
    make=two_accounts,
    check=sum_is_seen,
    requests={"A": transfer("x", "y", "x", "y"), "B": look_at_the_sum_locked},
)
async def reader_with_the_lock(s):
    raise AssertionError("not called")


def counter():
    return SimpleNamespace(n=0, lock=asyncio.Lock())


async def bump(s):
    n = s.n
    await io()
    s.n = n + 1


@case(
    WRONG,
    "two tasks of one request race with each other",
    make=counter,
    check=lambda s, results: s.n == 2,
    requests={"A": lambda s: asyncio.gather(bump(s), bump(s))},
)
async def gather_in_one_request(s):
    raise AssertionError("not called")


@case(
    WRONG,
    "the request does not wait for the task that stores",
    make=counter,
    check=lambda s, r: max(r.values()) == 2,
)
async def stored_in_the_background(s):
    n = s.n

    async def store():
        await io()
        s.n = n + 1

    s.task = asyncio.create_task(store())
    await io()
    await io()
    return s.n


def users():
    return SimpleNamespace(
        store=Store(), names=[], created=0, inflight={}, cache={}, loads=0, lock=asyncio.Lock()
    )


@case(WRONG, "both see that the name is free", make=users, check=lambda s, r: len(s.names) == 1)
async def unique_name_by_looking_first(s):
    await io()
    if "ada" not in s.names:
        await io()
        s.names.append("ada")


@case(
    RIGHT,
    "the insert itself refuses a second one",
    make=users,
    check=lambda s, r: sorted(r.values()) == [False, True],
)
async def unique_name_by_constraint(s):
    return await s.store.insert("ada", 1)


@case(WRONG, "the key is stored after the effect", make=users, check=lambda s, r: s.created == 1)
async def idempotency_key_stored_afterwards(s):
    if await s.store.get("key") is None:
        s.created += 1
        await s.store.set("key", "done")


@case(RIGHT, "the key is claimed before the effect", make=users, check=lambda s, r: s.created == 1)
async def idempotency_key_claimed_first(s):
    if await s.store.insert("key", "started"):
        s.created += 1
        await s.store.set("key", "done")


async def load(s):
    s.loads += 1
    await io()
    return "value"


one_load = {"make": users, "check": lambda s, results: s.loads == 1}


@case(WRONG, "both miss and both load", **one_load)
async def cache_without_a_lock(s):
    if "k" not in s.cache:
        s.cache["k"] = await load(s)
    return s.cache["k"]


@case(WRONG, "the second one loads again when it gets the lock", **one_load)
async def cache_lock_without_second_look(s):
    if "k" not in s.cache:
        async with s.lock:
            s.cache["k"] = await load(s)
    return s.cache["k"]


@case(RIGHT, "it looks again inside of the lock", **one_load)
async def cache_lock_with_second_look(s):
    if "k" not in s.cache:
        async with s.lock:
            if "k" not in s.cache:
                s.cache["k"] = await load(s)
    return s.cache["k"]


@case(WRONG, "the flight is cleared before the value is stored", **one_load)
async def flight_cleared_too_early(s):
    if "k" in s.cache:
        return s.cache["k"]
    if "k" in s.inflight:
        return await s.inflight["k"]
    future = s.inflight["k"] = asyncio.get_running_loop().create_future()
    value = await load(s)
    future.set_result(value)
    del s.inflight["k"]
    await io()
    s.cache["k"] = value
    return value


@case(RIGHT, "the flight is a task that stores before it is cleared", **one_load)
async def flight_as_a_task(s):
    if "k" in s.cache:
        return s.cache["k"]
    if "k" not in s.inflight:

        async def fly():
            s.cache["k"] = await load(s)
            del s.inflight["k"]
            return s.cache["k"]

        s.inflight["k"] = asyncio.create_task(fly())
    return await asyncio.shield(s.inflight["k"])


def room():
    return SimpleNamespace(seats=1, taken=[], queue=asyncio.Queue(maxsize=1), lock=asyncio.Lock())


@case(WRONG, "the seat is counted down after an await", make=room, check=lambda s, r: len(s.taken) <= 1)
async def seat_counted_too_late(s):
    if s.seats > 0:
        await io()
        s.seats -= 1
        s.taken.append(1)


@case(
    RIGHT,
    "the seat is counted down at once and given back on failure",
    make=room,
    check=lambda s, r: len(s.taken) <= 1,
)
async def seat_counted_at_once(s):
    if s.seats > 0:
        s.seats -= 1
        await io()
        s.taken.append(1)


@case(WRONG, "the queue fills up between full() and put_nowait()", make=room, check=None)
async def queue_looked_at_first(s):
    if not s.queue.full():
        await io()
        s.queue.put_nowait(1)


@case(
    RIGHT,
    "a full queue is an answer, not a surprise",
    make=room,
    check=lambda s, r: sorted(r.values()) == [False, True],
)
async def queue_that_may_refuse(s):
    await io()
    try:
        s.queue.put_nowait(1)
    except asyncio.QueueFull:
        return False
    return True


@case(
    WRONG,
    "the index is stale after the await",
    make=lambda: SimpleNamespace(jobs=[1, 2], done=[]),
    check=lambda s, r: sorted(s.done) == [1, 2],
)
async def job_taken_by_index(s):
    job = s.jobs[0]
    await io()
    s.jobs.pop(0)
    s.done.append(job)


@case(
    RIGHT,
    "pop takes and removes at once",
    make=lambda: SimpleNamespace(jobs=[1, 2], done=[]),
    check=lambda s, r: sorted(s.done) == [1, 2],
)
async def job_taken_by_pop(s):
    job = s.jobs.pop(0)
    await io()
    s.done.append(job)
