# rejected by test_the_risk_desk_decides: the race is gone because the question is gone
from fastapi import FastAPI, HTTPException


def make_app(balances, risk_desk):
    app = FastAPI()
    app.state.balances = balances

    @app.post("/accounts/{name}/withdrawals")
    async def withdraw(name: str, amount: int):
        if balances[name] < amount:
            raise HTTPException(409, "the balance does not cover the amount")
        balances[name] -= amount
        return {"balance": balances[name]}

    return app
