# rejected by test_the_risk_desk_decides: the amount is taken first and kept when the risk desk says no
from fastapi import FastAPI, HTTPException


def make_app(balances, risk_desk):
    app = FastAPI()
    app.state.balances = balances

    @app.post("/accounts/{name}/withdrawals")
    async def withdraw(name: str, amount: int):
        if balances[name] < amount:
            raise HTTPException(409, "the balance does not cover the amount")
        balances[name] -= amount
        if not await risk_desk.approve(name, amount):
            raise HTTPException(403, "refused by the risk desk")
        return {"balance": balances[name]}

    return app
