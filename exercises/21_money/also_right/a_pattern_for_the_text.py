from decimal import Decimal
from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, StringConstraints


class Deposit(BaseModel):
    amount: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,14}(\.[0-9]{1,2})?$")]


def make_app():
    app = FastAPI()
    balance = Decimal("0.00")

    @app.post("/deposits")
    async def deposit(body: Deposit):
        nonlocal balance
        balance += Decimal(body.amount)
        return {"balance": f"{balance:.2f}"}

    return app
