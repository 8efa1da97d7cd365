# rejected by test_two_accounts_do_not_wait_for_each_other: one lock makes all customers queue
import asyncio

from fastapi import FastAPI, HTTPException


def make_app(balances, risk_desk):
    app = FastAPI()
    app.state.balances = balances
    lock = asyncio.Lock()

    @app.post("/accounts/{name}/withdrawals")
    async def withdraw(name: str, amount: int):
        async with lock:
            balance = balances[name]
            if balance < amount:
                raise HTTPException(409, "the balance does not cover the amount")
            if not await risk_desk.approve(name, amount):
                raise HTTPException(403, "refused by the risk desk")
            balances[name] = balance - amount
        return {"balance": balances[name]}

    return app
