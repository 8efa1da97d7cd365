# rejected by test_no_interleaving_loses_money: the balance is read again, but not checked again
from fastapi import FastAPI, HTTPException


def make_app(balances, risk_desk):
    app = FastAPI()
    app.state.balances = balances

    @app.post("/accounts/{name}/withdrawals")
    async def withdraw(name: str, amount: int):
        if balances[name] < amount:
            raise HTTPException(409, "the balance does not cover the amount")
        if not await risk_desk.approve(name, amount):
            raise HTTPException(403, "refused by the risk desk")
        balances[name] -= amount
        return {"balance": balances[name]}

    return app
