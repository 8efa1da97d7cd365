"""Idempotency keys, retries and lost tries."""

import asyncio
from types import SimpleNamespace

from race_cases.corpus.cases import RIGHT, WRONG, Store, collector, io

CASES = []
case = collector(CASES)


def till():
    return SimpleNamespace(results={}, charges=[], calls=0, store=Store(balance=100, row=(0, 100)), acked=[])


async def charge(s):
    await io()
    s.charges.append(10)
    return f"receipt {len(s.charges)}"


def same_answer_one_charge(s, r):
    return len(s.charges) == 1 and set(r.values()) == {"receipt 1"}


@case(
    WRONG,
    "the mark that claims the key is handed to the second request as if it were the answer",
    make=till,
    check=same_answer_one_charge,
)
async def claim_mistaken_for_an_answer(s):
    if "key" in s.results:
        return s.results["key"]
    s.results["key"] = None
    s.results["key"] = await charge(s)
    return s.results["key"]


@case(
    RIGHT,
    "the future is there before the first await, and whoever comes later waits for it",
    make=till,
    check=same_answer_one_charge,
)
async def claim_is_a_future(s):
    if "key" in s.results:
        return await asyncio.shield(s.results["key"])
    future = s.results["key"] = asyncio.get_running_loop().create_future()
    future.set_result(await charge(s))
    return await future


async def charge_that_fails_once(s):
    s.calls += 1
    first = s.calls == 1
    await io()
    if first:
        raise ConnectionError("no answer from the card house")
    return await charge(s)


async def failed_claim_is_an_answer(s):
    event = s.results.get("event")
    if event is not None:
        await event.wait()
        return s.results["receipt"]
    event = s.results["event"] = asyncio.Event()
    try:
        s.results["receipt"] = await charge_that_fails_once(s)
    except ConnectionError:
        del s.results["event"]
        return "failed"
    finally:
        event.set()
    return s.results["receipt"]


case(
    WRONG,
    "after a failed first try the event is set and the receipt is not there: KeyError",
    make=till,
    check=lambda s, r: all(isinstance(answer, str) for answer in r.values()),
    requests={"A": failed_claim_is_an_answer, "B": failed_claim_is_an_answer},
)(failed_claim_is_an_answer)


@case(
    RIGHT,
    "who wakes up looks again, and makes the claim himself when the first one failed",
    make=till,
    check=lambda s, r: sorted(r.values()) == ["failed", "receipt 1"] and len(s.charges) == 1,
)
async def failed_claim_is_free_again(s):
    while "receipt" not in s.results:
        event = s.results.get("event")
        if event is not None:
            await event.wait()
            continue
        event = s.results["event"] = asyncio.Event()
        try:
            s.results["receipt"] = await charge_that_fails_once(s)
        except ConnectionError:
            return "failed"
        finally:
            del s.results["event"]
            event.set()
    return s.results["receipt"]


@case(
    WRONG,
    "the expected value is read anew in the loop, the new one was computed before it",
    make=till,
    check=lambda s, r: s.store.values["balance"] == 80,
)
async def retry_with_a_value_from_before(s):
    new = await s.store.get("balance") - 10
    while not await s.store.compare_and_set("balance", await s.store.get("balance"), new):
        pass


def giving_up(s):
    return s.store.values["balance"] == 100 - 10 * sum(answer == 200 for answer in s.acked)


TRIES = 1  # So that two requests are enough to lose the last try.


async def tries_and_a_yes(s):
    for _ in range(TRIES):
        old = await s.store.get("balance")
        if await s.store.compare_and_set("balance", old, old - 10):
            break
    s.acked.append(200)


async def tries_and_an_honest_no(s):
    for _ in range(TRIES):
        old = await s.store.get("balance")
        if await s.store.compare_and_set("balance", old, old - 10):
            break
    else:
        s.acked.append(409)
        return
    s.acked.append(200)


case(
    WRONG,
    "after the last lost try the loop ends like after a won one, and the answer is yes",
    make=till,
    check=lambda s, r: giving_up(s),
    requests=dict.fromkeys("AB", tries_and_a_yes),
)(tries_and_a_yes)

case(
    RIGHT,
    "the loop's else knows a lost last try, and the answer is no",
    make=till,
    check=lambda s, r: giving_up(s) and sorted(s.acked) in ([200, 200], [200, 409]),
    requests=dict.fromkeys("AB", tries_and_an_honest_no),
)(tries_and_an_honest_no)


class CardHouse:
    """Charges at once and answers half a second later."""

    def __init__(self):
        self.charges = []

    async def charge(self, key):
        if key not in self.charges:
            self.charges.append(key)
        await asyncio.sleep(0.5)


def retrying(keys):
    async def pay(house):
        for key in keys:
            try:
                async with asyncio.timeout(1):
                    await house.charge(key)
                return
            except TimeoutError:
                continue

    return pay


def retry_with_a_new_key():
    return CardHouse()


def retry_with_the_same_key():
    return CardHouse()


case(
    WRONG,
    "an answer that comes in time but is read too late is a timeout, and the retry charges once more",
    make=CardHouse,
    check=lambda house, r: len(house.charges) == 1,
    requests={"A": retrying(["k1", "k2"])},
)(retry_with_a_new_key)

case(
    RIGHT,
    "the retry has the key of the first try, and the card house charges a key once",
    make=CardHouse,
    check=lambda house, r: len(house.charges) == 1,
    requests={"A": retrying(["k1", "k1"])},
)(retry_with_the_same_key)
