from decimal import Decimal
from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, Discriminator, Tag


class Market(BaseModel):
    type: str
    symbol: str
    quantity: int


class Limit(Market):
    limit_price: Decimal


class Stop(Market):
    stop_price: Decimal


def kind_of(order):
    return order.get("type") if isinstance(order, dict) else None


Order = Annotated[
    Annotated[Market, Tag("market")] | Annotated[Limit, Tag("limit")] | Annotated[Stop, Tag("stop")],
    Discriminator(kind_of),
]

app = FastAPI()


@app.post("/orders")
async def place(order: Order) -> str:
    return type(order).__name__
