from fastapi import FastAPI, HTTPException


def make_app(balances, risk_desk):
    app = FastAPI()
    app.state.balances = balances

    @app.post("/accounts/{name}/withdrawals")
    async def withdraw(name: str, amount: int):
        if balances[name] < amount:
            raise HTTPException(409, "the balance does not cover the amount")
        balances[name] -= amount
        approved = False
        try:
            approved = await risk_desk.approve(name, amount)
        finally:
            if not approved:
                balances[name] += amount
        if not approved:
            raise HTTPException(403, "refused by the risk desk")
        return {"balance": balances[name]}

    return app
