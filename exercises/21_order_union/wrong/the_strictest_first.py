# rejected by test_a_misspelt_limit_is_refused: the last class is still there to take it
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


Order = Annotated[Limit | Stop | Market, Field(union_mode="left_to_right")]

app = FastAPI()


@app.post("/orders")
async def place(order: Order) -> str:
    return type(order).__name__
