# rejected by test_the_balance_is_text_with_two_digits: without a type a Decimal leaves as a number
from decimal import Decimal

from fastapi import FastAPI
from pydantic import BaseModel


class Deposit(BaseModel):
    amount: Decimal


def make_app():
    app = FastAPI()
    balance = Decimal("0.00")

    @app.post("/deposits")
    async def deposit(body: Deposit):
        nonlocal balance
        balance += body.amount
        return {"balance": balance}

    return app
