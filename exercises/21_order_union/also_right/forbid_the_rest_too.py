from decimal import Decimal
from typing import Annotated, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field


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


Order = Annotated[Market | Limit | Stop, Field(discriminator="type")]

app = FastAPI()


@app.post("/orders")
async def place(order: Order) -> str:
    return type(order).__name__
