# rejected by test_a_number_is_refused: rounding hides the float instead of removing it

from fastapi import FastAPI
from pydantic import BaseModel


class Deposit(BaseModel):
    amount: float


def make_app():
    app = FastAPI()
    balance = 0.0

    @app.post("/deposits")
    async def deposit(body: Deposit):
        nonlocal balance
        balance += round(body.amount, 2)
        return {"balance": f"{balance:.2f}"}

    return app
