import asyncio

from fastapi import FastAPI, HTTPException


def make_app(balances, risk_desk):
    app = FastAPI()
    app.state.balances = balances
    locks = {name: asyncio.Lock() for name in balances}

    @app.post("/accounts/{name}/withdrawals")
    async def withdraw(name: str, amount: int):
        async with locks[name]:
            if balances[name] < amount:
                raise HTTPException(409, "the balance does not cover the amount")
            if not await risk_desk.approve(name, amount):
                raise HTTPException(403, "refused by the risk desk")
            balances[name] -= amount
        return {"balance": balances[name]}

    return app
