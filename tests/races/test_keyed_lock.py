"""Withdrawals and transfers in every order: nothing lost, nobody stuck, and other accounts do not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.keyed_lock import KeyedLock, NotAcquired


class Bank:
    """Two balances that are read, waited over, and written."""

    def __init__(self, locks: type[KeyedLock[str]], timeout_s: Any = None) -> None:
        self.locks = locks(timeout_s=timeout_s)  # None, which is no limit: else the timeout hides a deadlock
        self.balances = {"alice": 100, "bob": 100}
        self.done = 0
        self.inside: set[str] = set()
        self.overlapped = False


def transfer(source: str, target: str) -> Callable[[Bank], Any]:
    async def move(bank: Bank) -> None:
        async with bank.locks(source, target):
            before = bank.balances[source], bank.balances[target]
            await asyncio.sleep(0)  # a look at the limits
            bank.balances[source], bank.balances[target] = before[0] - 10, before[1] + 10
            bank.done += 1

    return move


async def withdraw(bank: Bank) -> None:
    async with bank.locks("alice"):
        before = bank.balances["alice"], bank.balances["bob"]
        await asyncio.sleep(0)
        bank.balances["alice"], bank.balances["bob"] = before[0] - 10, before[1] + 10
        bank.done += 1


def visit(account: str) -> Callable[[Bank], Any]:
    async def stay(bank: Bank) -> None:
        async with bank.locks(account):
            bank.overlapped |= bool(bank.inside)
            bank.inside.add(account)
            await asyncio.sleep(0)
            bank.inside.discard(account)

    return stay


def every_transfer_counts(bank: Bank, responses: dict[str, Any]) -> None:
    assert len(bank.locks) == 0, "a lock was left"
    assert sum(bank.balances.values()) == 200, "money was lost"
    gone = [it for it in responses.values() if isinstance(it, asyncio.CancelledError | NotAcquired)]
    assert bank.done >= len(responses) - len(gone), "a transfer was lost"
    assert len([it for it in gone if isinstance(it, NotAcquired)]) == bank.locks.timeouts


def two_of_alice(bank: Bank, responses: dict[str, Any]) -> None:
    every_transfer_counts(bank, responses)
    assert bank.balances["alice"] == 100 - 10 * bank.done, "an update was lost"


def nobody_meets(bank: Bank, responses: dict[str, Any]) -> None:
    assert not bank.overlapped, "two tasks were in at once"


SAME = {"A": transfer("alice", "bob"), "B": transfer("alice", "bob")}
OPPOSITE = {"A": transfer("alice", "bob"), "B": transfer("bob", "alice")}


async def test_no_update_is_lost_in_any_order() -> None:
    requests = SAME | {"C": transfer("alice", "bob")}
    report = await explore(lambda: Bank(KeyedLock), requests, invariant=two_of_alice, max_seconds=60)
    assert report.verdict == "exhausted", report.text()


async def test_opposite_transfers_end_in_every_order_also_when_one_is_cancelled() -> None:
    report = await explore(
        lambda: Bank(KeyedLock), OPPOSITE, invariant=every_transfer_counts, cancel=["A"], max_seconds=60
    )
    assert report.verdict == "exhausted", report.text()


async def test_whoever_gives_up_at_whatever_moment_the_others_get_their_turn() -> None:
    report = await explore(
        lambda: Bank(KeyedLock, timeout_s=60),  # the clock may reach it at any step
        SAME | {"C": transfer("alice", "bob")},
        invariant=two_of_alice,
        cancel=["B"],
        max_seconds=60,
    )
    assert report.verdict == "exhausted", report.text()


async def test_different_accounts_can_be_visited_at_once() -> None:
    report = await explore(
        lambda: Bank(KeyedLock), {"A": visit("alice"), "B": visit("bob")}, invariant=nobody_meets
    )
    assert report.verdict == "counterexample", "a lock over everything would pass for a keyed lock"


class DropsItWhenUnlocked(KeyedLock[str]):
    """A lock that has been handed to the next one is unlocked until that one runs."""

    def _leave(self, key: str, slot: Any) -> None:
        slot.users -= 1
        if slot.lock is None or not slot.lock.locked():
            self._slots.pop(key, None)

    def _release(self, keys: Any) -> None:
        for key in keys:
            if key in self._slots:
                super()._release([key])


class OrderOfTheCaller(KeyedLock[str]):
    def __call__(self, key: str, /, *more: str) -> Any:
        hold = super().__call__(key, *more)
        hold._keys = (key, *more)
        return hold


@pytest.mark.parametrize(
    ("twin", "requests", "rule", "kind"),
    [
        (DropsItWhenUnlocked, dict.fromkeys("ABC", withdraw), two_of_alice, "deadlock"),
        (
            OrderOfTheCaller,
            OPPOSITE | {"C": visit("alice"), "D": visit("bob")},
            lambda bank, responses: None,
            "deadlock",
        ),
    ],
)
async def test_a_wrong_twin_is_found(twin: Any, requests: Any, rule: Any, kind: str) -> None:
    report = await explore(lambda: Bank(twin), requests, invariant=rule, max_seconds=60)
    assert report.counterexample is not None, report.text()
    assert report.counterexample.failure.kind == kind, report.text()
