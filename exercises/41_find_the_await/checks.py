import asyncio
from types import SimpleNamespace

from deskbook.races import BadSchedule, Diverged, post, replay
from fastapi import FastAPI, HTTPException


def make_desk():
    app = FastAPI()
    desk = app.state.desk = SimpleNamespace(cash=100)

    async def note(text):
        await asyncio.sleep(0)

    async def fee():
        await asyncio.sleep(0)
        return 10

    @app.post("/orders")
    async def buy(cost: int):
        await note("asked")
        if desk.cash < cost:
            raise HTTPException(409, "not enough cash")
        total = cost + await fee()
        desk.cash -= total
        await note("bought")
        return {"cash": desk.cash}

    return app


#: `total = cost + await fee()` in the listing of the page.
LINE = 6


def buy_for_80():
    return post("/orders", params={"cost": 80})


def test_the_schedule_can_be_followed(answer, evidence):
    """The schedule names steps of A and B that the two requests can take."""
    evidence.given(f"the schedule {answer.schedule}")
    requests = {"A": buy_for_80(), "B": buy_for_80()}
    try:
        replay(make_desk, requests, schedule=answer.schedule)
    except BadSchedule:
        raise AssertionError("A schedule is made of steps such as A, A2 and B3.") from None
    except Diverged as error:
        evidence.got(str(error).partition(":")[0])
        raise AssertionError("The requests cannot run in this order.") from None


def test_the_schedule_spends_the_cash_twice(answer, evidence):
    """In this schedule both requests are paid, and the cash falls below zero."""
    evidence.given(f"a cash of 100, two orders for 80, and the schedule {answer.schedule}")
    requests = {"A": buy_for_80(), "B": buy_for_80()}
    run = replay(
        make_desk, requests, schedule=answer.schedule, observe=lambda app: {"cash": app.state.desk.cash}
    )
    paid = [name for name, reply in run.responses.items() if reply.status_code == 200]
    evidence.run(run)
    evidence.got(f"paid: {' and '.join(paid) or 'nobody'}")
    assert len(paid) == 2, "Only one order is paid here, as it should be. Look for another order of steps."


def test_the_line_lets_the_other_request_in(answer, evidence):
    """The line is the one between the check of the cash and its change where another request may run."""
    evidence.given(f"line {answer.line}")
    assert answer.line == LINE, "Find the `await` that stands after the check and before the change."
