"""A thread waits, the loop goes on.

`asyncio.to_thread` hands the call to a thread and gives the loop back until the price is there. The default
pool has a few threads more than the machine has cores, so that many calls can wait side by side; the next
ones queue. A library that speaks async itself would need no thread at all, and could wait for thousands.
"""

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
    price = await asyncio.to_thread(fetch_price, symbol)
    return {"symbol": symbol, "price": price}
