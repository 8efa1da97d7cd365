"""Independent requests must be able to overlap, so a lock over everything is told from a fine one."""

import asyncio

from deskbook.races import can_overlap, post
from fastapi import FastAPI


def account_app(lock_for):
    app = FastAPI()
    app.state.balance = {"x": 100, "y": 100}
    locks = {}

    @app.post("/withdraw/{account}")
    async def withdraw(account: str):
        async with locks.setdefault(lock_for(account), asyncio.Lock()):
            balance = app.state.balance[account]
            await asyncio.sleep(0)
            app.state.balance[account] = balance - 60

    return app


def test_a_lock_over_everything_is_told_from_a_lock_for_each_account():
    independent = {"A": post("/withdraw/x"), "B": post("/withdraw/y")}
    fine = can_overlap(lambda: account_app(lambda account: account), independent)
    coarse = can_overlap(lambda: account_app(lambda account: "all"), independent)
    assert fine
    assert not coarse
    assert "B waits at «withdraw: async with locks.setdefault(" in coarse.text()
