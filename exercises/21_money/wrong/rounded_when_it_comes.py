# rejected by test_a_third_digit_is_refused: half a cent is rounded away without a word
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
        balance += round(Decimal(body.amount), 2)
        return {"balance": str(balance)}

    return app
