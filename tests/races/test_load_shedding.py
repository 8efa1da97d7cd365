"""Requests that come, wait, give up and are cancelled in every order: no place is lost or given twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from deskbook.races import explore

from reference_app.patterns.load_shedding import LoadShedder, Overloaded


class Desk:
    """One place, and who was in it."""

    def __init__(self, shedder: type[LoadShedder], **options: Any) -> None:
        settings: dict[str, Any] = {"max_running": 1, "max_waiting": 2, "max_wait_s": 5.0}
        self.shedder = shedder(**settings | options)
        self.inside = self.most_inside = self.served = 0


async def visit(desk: Desk) -> None:
    async with desk.shedder:
        desk.inside += 1
        desk.most_inside = max(desk.most_inside, desk.inside)
        try:
            await asyncio.sleep(0)  # the work
            desk.served += 1
        finally:
            desk.inside -= 1


def no_place_is_lost(desk: Desk, responses: dict[str, Any]) -> None:
    assert desk.most_inside <= 1, "more run than allowed"
    assert (desk.shedder.running, desk.shedder.waiting) == (0, 0), "a place or a turn was lost"
    gone = [it for it in responses.values() if isinstance(it, Overloaded | asyncio.CancelledError)]
    assert desk.served >= len(responses) - len(gone)
    shed = sum(isinstance(it, Overloaded) for it in gone)
    assert desk.shedder.shed_late + desk.shedder.shed_at_once == shed


@pytest.mark.parametrize(
    ("options", "cancel", "bound", "verdict"),
    [
        ({}, ["B"], 2, "bounded"),
        pytest.param({}, ["B"], None, "exhausted", marks=pytest.mark.prove),  # half a minute
        ({"max_waiting": 1}, [], None, "exhausted"),
        ({"overload_wait_s": 1.0}, [], None, "exhausted"),
    ],
)
async def test_whatever_the_order(
    options: dict[str, Any], cancel: list[str], bound: int | None, verdict: str
) -> None:
    report = await explore(
        lambda: Desk(LoadShedder, **options),
        dict.fromkeys("ABC", visit),
        invariant=no_place_is_lost,
        cancel=cancel,
        preemption_bound=bound,
        max_seconds=200,
    )
    assert report.verdict == verdict, report.text()


class LosesThePlace(LoadShedder):
    """Cancelled after its turn had come, it takes the place along."""

    async def _wait(self) -> bool:
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            return await turn
        finally:
            if turn in self._queue:
                self._queue.remove(turn)


class FreesItAndWakes(LoadShedder):
    """The place is free until the next one runs, who then takes it without looking."""

    def _hand_over(self) -> None:
        self.running -= 1
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(True)
                return

    async def _wait(self) -> bool:
        granted = await super()._wait()
        self.running += granted
        return granted


@pytest.mark.parametrize(
    ("twin", "cancel", "why"),
    [(LosesThePlace, ["B"], "deadlock"), (FreesItAndWakes, [], "more run than allowed")],
)
async def test_a_wrong_twin_is_found(twin: Any, cancel: list[str], why: str) -> None:
    report = await explore(
        lambda: Desk(twin),
        dict.fromkeys("ABC", visit),
        invariant=no_place_is_lost,
        cancel=cancel,
        max_seconds=60,
    )
    assert report.counterexample is not None, report.text()
    assert why in str(report.counterexample.failure), report.text()
