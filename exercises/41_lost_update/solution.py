"""The check and the change belong together, with no `await` between them.

Everything between two awaits runs as one piece: no other request can come in between. So ask the risk desk
first, and look at the balance only afterwards, in the same step that changes it. No lock is needed, and
nobody waits.

This holds for state in the memory of one process. With two workers, or with a database, the check has to
move to where the state is.
"""

from fastapi import FastAPI, HTTPException


def make_app(balances, risk_desk):
    app = FastAPI()
    app.state.balances = balances

    @app.post("/accounts/{name}/withdrawals")
    async def withdraw(name: str, amount: int):
        if not await risk_desk.approve(name, amount):
            raise HTTPException(403, "refused by the risk desk")
        if balances[name] < amount:
            raise HTTPException(409, "the balance does not cover the amount")
        balances[name] -= amount
        return {"balance": balances[name]}

    return app
