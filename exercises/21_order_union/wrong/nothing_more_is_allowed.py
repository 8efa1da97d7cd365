# rejected by test_an_error_speaks_of_one_kind: the order is refused, and all kinds say why
from decimal import Decimal
from typing import Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict


class Market(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["market"]
    symbol: str
    quantity: int


class Limit(Market):
    type: Literal["limit"]
    limit_price: Decimal


class Stop(Market):
    type: Literal["stop"]
    stop_price: Decimal


Order = Market | Limit | Stop

app = FastAPI()


@app.post("/orders")
async def place(order: Order) -> str:
    return type(order).__name__
