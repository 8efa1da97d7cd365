# rejected by test_good_orders_are_taken: the first class takes everything
from decimal import Decimal
from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, Field


class Market(BaseModel):
    symbol: str
    quantity: int


class Limit(Market):
    limit_price: Decimal


class Stop(Market):
    stop_price: Decimal


Order = Annotated[Market | Limit | Stop, Field(union_mode="left_to_right")]

app = FastAPI()


@app.post("/orders")
async def place(order: Order) -> str:
    return type(order).__name__
