# rejected by test_a_deposit_is_booked: an int takes no 19.90

from fastapi import FastAPI
from pydantic import BaseModel


class Deposit(BaseModel):
    amount: int


def make_app():
    app = FastAPI()
    balance = 0

    @app.post("/deposits")
    async def deposit(body: Deposit):
        nonlocal balance
        balance += body.amount
        return {"balance": f"{balance / 100:.2f}"}

    return app
