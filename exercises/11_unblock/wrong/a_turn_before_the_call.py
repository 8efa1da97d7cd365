# rejected by test_the_loop_goes_on: one turn is given away, and then the loop stands still
import asyncio
import time

from fastapi import FastAPI

app = FastAPI()


def fetch_price(symbol):
    """Ask the exchange; this library knows no async, and waits where it stands."""
    time.sleep(0.05)
    return "202.91"


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    await asyncio.sleep(0)
    price = fetch_price(symbol)
    return {"symbol": symbol, "price": price}
