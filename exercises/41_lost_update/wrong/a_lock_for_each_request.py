# rejected by test_no_interleaving_loses_money: each request locks a lock of its own
import asyncio

from fastapi import FastAPI, HTTPException


def make_app(balances, risk_desk):
    app = FastAPI()
    app.state.balances = balances

    @app.post("/accounts/{name}/withdrawals")
    async def withdraw(name: str, amount: int):
        async with asyncio.Lock():
            balance = balances[name]
            if balance < amount:
                raise HTTPException(409, "the balance does not cover the amount")
            if not await risk_desk.approve(name, amount):
                raise HTTPException(403, "refused by the risk desk")
            balances[name] = balance - amount
        return {"balance": balances[name]}

    return app
