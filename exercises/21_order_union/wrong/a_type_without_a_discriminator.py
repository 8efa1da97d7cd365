# rejected by test_an_error_speaks_of_one_kind: every class is tried, and every class reports
from decimal import Decimal
from typing import Literal

from fastapi import FastAPI
from pydantic import BaseModel


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


Order = Market | Limit | Stop

app = FastAPI()


@app.post("/orders")
async def place(order: Order) -> str:
    return type(order).__name__
