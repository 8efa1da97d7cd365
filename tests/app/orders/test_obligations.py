"""An accepted order is never given up, and an operator sees and restarts one that hangs."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from deskbook.desk import RunningApp

from reference_app import operator
from reference_app.infra.process.resources import Resources
from reference_app.orders.matcher import match
from tests.app.orders.test_matching import Exchange, match_all, state_of
from tests.app.trader import Trader

#: More runs than any limit that a queue of jobs would have by default.
MANY_RUNS = 12
PATIENCE_S = 30


async def fails_so_often(desk: RunningApp, runs: int) -> None:
    """Let the matcher of the desk fail at `fills`, as a migration lets it that locks this table."""
    await desk.sql("ALTER TABLE fills RENAME TO fills_away")
    matcher = asyncio.create_task(match(Resources(**desk.state)))  # type: ignore[typeddict-item]
    try:
        for run in range(1, runs + 1):
            deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
            while (await desk.sql("SELECT tries, token FROM queue"))[0] != {"tries": run, "token": None}:
                assert not matcher.done()
                assert asyncio.get_running_loop().time() < deadline_s, f"its job has no run {run}"
                await asyncio.sleep(0.01)
            if run < runs:
                await desk.sql("UPDATE queue SET not_before = now()")  # the wait between two runs is over
    finally:
        matcher.cancel()
        await asyncio.wait([matcher])
        await desk.sql("ALTER TABLE fills_away RENAME TO fills")


async def placed(desk: RunningApp) -> str:
    account = await Trader(desk).open_account("100000.00")
    return await Trader(desk).new_order(account, type="market", limit_price=None)


def says(desk: RunningApp, monkeypatch: Any, capsys: Any, *arguments: str) -> str:
    """Return what the command of the operator prints."""
    monkeypatch.setenv("DATABASE_URL", desk.database_url)
    monkeypatch.setattr(sys, "argv", ["operator", *arguments])
    operator.main()
    return str(capsys.readouterr().out)


async def test_an_order_whose_job_fails_again_and_again_is_filled_when_the_fault_is_over(
    own_desk: RunningApp, invariants: Any
) -> None:
    order = await placed(own_desk)
    await fails_so_often(own_desk, MANY_RUNS)
    assert await state_of(own_desk, order) == "pending"
    await invariants(own_desk.database_url)
    await own_desk.sql("UPDATE queue SET not_before = now()")
    matcher = asyncio.create_task(match(Resources(**own_desk.state)))  # type: ignore[typeddict-item]
    try:
        while await state_of(own_desk, order) != "filled":
            assert not matcher.done()
            await asyncio.sleep(0.05)
    finally:
        matcher.cancel()
        await asyncio.wait([matcher])
    await invariants(own_desk.database_url)


async def test_an_operator_sees_what_hangs_and_restarts_it(
    own_desk: RunningApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*arguments: str) -> Any:
        return asyncio.to_thread(says, own_desk, monkeypatch, capsys, "orders", *arguments)

    order = await placed(own_desk)
    number = order.rsplit("/", 1)[1]
    assert await command("list") == "No order hangs.\n"
    await own_desk.sql("UPDATE queue SET tries = 5, not_before = now() + interval '1 h'")
    assert f"order {number}  AAPL  pending" in await command("list")
    assert "tried 5 times" in await command("list")
    assert await command("restart", number, "999999") == (
        f"Restarted: {number}. Left alone, since they are final, unknown or being tried: 999999.\n"
    )
    await match_all(own_desk, Exchange("4.00"))
    assert await state_of(own_desk, order) == "filled"
    assert await command("list") == "No order hangs.\n"
    assert await command("restart") == "Restarted: none.\n"


async def test_an_order_without_a_job_is_given_one(
    own_desk: RunningApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], invariants: Any
) -> None:
    def command(*arguments: str) -> Any:
        return asyncio.to_thread(says, own_desk, monkeypatch, capsys, "orders", *arguments)

    order = await placed(own_desk)
    await own_desk.sql("DELETE FROM queue")
    assert "has no job" in await command("list")
    assert await command("restart") == f"Restarted: {order.rsplit('/', 1)[1]}.\n"
    await invariants(own_desk.database_url)
    await match_all(own_desk, Exchange("4.00"))
    assert await state_of(own_desk, order) == "filled"


async def test_a_job_that_a_matcher_has_at_this_moment_is_left_to_it(
    own_desk: RunningApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await placed(own_desk)
    taken = "tries = 6, token = gen_random_uuid(), not_before = now() + interval '30 s'"
    await own_desk.sql(f"UPDATE queue SET {taken}")
    said = await asyncio.to_thread(says, own_desk, monkeypatch, capsys, "orders", "restart")
    assert said.startswith("Restarted: none. Left alone")
    (job,) = await own_desk.sql("SELECT tries FROM queue")
    assert job["tries"] == 6


@pytest.mark.parametrize("number", ["0", "-1", "seven", "9" * 20])
def test_what_is_no_number_of_an_order_is_refused(
    number: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["operator", "orders", "restart", "--", number])
    with pytest.raises(SystemExit, match="2"):
        operator.main()
    assert "expected the number of an order" in capsys.readouterr().err
