# rejected by test_a_third_digit_is_refused: half a cent is booked, and rounded in the reply
from decimal import Decimal

from fastapi import FastAPI
from pydantic import BaseModel


class Deposit(BaseModel):
    amount: str


def make_app():
    app = FastAPI()
    balance = Decimal("0.00")

    @app.post("/deposits")
    async def deposit(body: Deposit):
        nonlocal balance
        balance += Decimal(body.amount)
        return {"balance": f"{balance:.2f}"}

    return app
