from fastapi import FastAPI, HTTPException


def make_app(balances, risk_desk):
    app = FastAPI()
    app.state.balances = balances

    @app.post("/accounts/{name}/withdrawals")
    async def withdraw(name: str, amount: int):
        approved = await risk_desk.approve(name, amount) if balances[name] >= amount else None
        seen = balances[name]
        if seen < amount:
            raise HTTPException(409, "the balance does not cover the amount")
        if not approved:
            raise HTTPException(403, "refused by the risk desk")
        balances[name] = seen - amount
        return {"balance": balances[name]}

    return app
