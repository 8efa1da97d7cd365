"""One field decides, and Pydantic checks one class only.

With a discriminator, Pydantic looks at `type` first. An order can no longer fall through to a class that asks
for less, and the errors speak of the kind that was sent. It is quicker too: one class is tried, not three.
"""

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field


class Market(BaseModel):
    type: Literal["market"]
    symbol: str
    quantity: int


class Limit(Market):
    type: Literal["limit"]
    limit_price: Decimal


class Stop(Market):
    type: Literal["stop"]
    stop_price: Decimal


Order = Annotated[Market | Limit | Stop, Field(discriminator="type")]

app = FastAPI()


@app.post("/orders")
async def place(order: Order) -> str:
    return type(order).__name__
