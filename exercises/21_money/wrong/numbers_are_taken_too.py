# rejected by test_a_number_is_refused: the number has been a float before the model sees it
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
        return {"balance": f"{balance:.2f}"}

    return app
