# rejected by test_no_cent_is_lost: as text the error of the float is there to read

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
        balance += body.amount
        return {"balance": str(balance)}

    return app
