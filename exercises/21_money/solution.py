"""Money is text on the wire and a `Decimal` inside, and the type refuses what it cannot keep.

A JSON number has gone through a float before any model sees it, so numbers are refused, and so is a third
digit: rounding is the sender's decision. The reply has a type too: without it, FastAPI turns a `Decimal` into
a number.
"""

from decimal import Decimal

from fastapi import FastAPI
from pydantic import BaseModel

from reference_app.patterns.money import Money, PositiveMoney


class Deposit(BaseModel):
    amount: PositiveMoney


class Balance(BaseModel):
    balance: Money


def make_app():
    app = FastAPI()
    balance = Decimal("0.00")

    @app.post("/deposits")
    async def deposit(body: Deposit) -> Balance:
        nonlocal balance
        balance += body.amount
        return Balance(balance=balance)

    return app
