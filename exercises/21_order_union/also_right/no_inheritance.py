from decimal import Decimal
from typing import Annotated, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Discriminator


class Market(BaseModel):
    type: Literal["market"]
    symbol: str
    quantity: int


class Limit(BaseModel):
    type: Literal["limit"]
    symbol: str
    quantity: int
    limit_price: Decimal


class Stop(BaseModel):
    type: Literal["stop"]
    symbol: str
    quantity: int
    stop_price: Decimal


Order = Annotated[Limit | Stop | Market, Discriminator("type")]

app = FastAPI()


@app.post("/orders")
async def place(order: Order) -> str:
    return type(order).__name__
