# rejected by test_too_much_is_refused: the money is gone before anybody looks
from fastapi import FastAPI, HTTPException


def make_app(balances, risk_desk):
    app = FastAPI()
    app.state.balances = balances

    @app.post("/accounts/{name}/withdrawals")
    async def withdraw(name: str, amount: int):
        if not await risk_desk.approve(name, amount):
            raise HTTPException(403, "refused by the risk desk")
        balances[name] -= amount
        if balances[name] < 0:
            raise HTTPException(409, "the balance does not cover the amount")
        return {"balance": balances[name]}

    return app
