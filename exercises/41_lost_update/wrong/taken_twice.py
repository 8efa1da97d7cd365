# rejected by test_a_single_withdrawal_is_paid_once: the amount is reserved, and then taken once more
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
            balances[name] += amount
            raise HTTPException(403, "refused by the risk desk")
        balances[name] = balances[name] - amount
        return {"balance": balances[name]}

    return app
