# rejected by test_requests_wait_side_by_side: the lock makes the requests queue
import asyncio
import time

from fastapi import FastAPI

app = FastAPI()
lock = asyncio.Lock()


def fetch_price(symbol):
    """Ask the exchange; this library knows no async, and waits where it stands."""
    time.sleep(0.05)
    return "202.91"


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    async with lock:
        price = await asyncio.to_thread(fetch_price, symbol)
    return {"symbol": symbol, "price": price}
