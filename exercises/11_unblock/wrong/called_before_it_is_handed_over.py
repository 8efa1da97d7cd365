# rejected by test_the_quote_is_right (error): the price is handed to the thread, not the function
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
    price = await asyncio.to_thread(fetch_price(symbol))
    return {"symbol": symbol, "price": price}
