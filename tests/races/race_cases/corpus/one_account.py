"""Two withdrawals from one account."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, Store, collector, io

CASES = []
case = collector(CASES)


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
    raise AssertionError("this function only gives the case its name")


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
    raise AssertionError("this function only gives the case its name")
