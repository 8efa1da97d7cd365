from decimal import Decimal

from fastapi import FastAPI
from pydantic import BaseModel

from reference_app.patterns.money import Money


class Deposit(BaseModel):
    amount: Money


def make_app():
    app = FastAPI()
    cents = 0

    @app.post("/deposits")
    async def deposit(body: Deposit):
        nonlocal cents
        cents += int(body.amount.scaleb(2))
        return {"balance": str(Decimal(cents).scaleb(-2))}

    return app
