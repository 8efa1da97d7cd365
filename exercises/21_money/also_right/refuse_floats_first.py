from decimal import Decimal

from fastapi import FastAPI
from pydantic import BaseModel, Field, field_validator


class Deposit(BaseModel):
    amount: Decimal = Field(decimal_places=2, max_digits=16)

    @field_validator("amount", mode="before")
    @classmethod
    def is_text(cls, value):
        if not isinstance(value, str):
            raise ValueError("expected text")
        return value


def make_app():
    app = FastAPI()
    balance = Decimal("0.00")

    @app.post("/deposits")
    async def deposit(body: Deposit):
        nonlocal balance
        balance += body.amount
        return {"balance": f"{balance:.2f}"}

    return app
