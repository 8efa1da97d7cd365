# rejected by test_a_deposit_is_booked: a decimal keeps the error of the float exactly
from decimal import Decimal

from fastapi import FastAPI
from pydantic import BaseModel


class Deposit(BaseModel):
    amount: float


def make_app():
    app = FastAPI()
    balance = Decimal("0")

    @app.post("/deposits")
    async def deposit(body: Deposit):
        nonlocal balance
        balance += Decimal(body.amount)
        return {"balance": str(balance)}

    return app
