# rejected by test_requests_wait_side_by_side: one thread is a queue
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI

app = FastAPI()
pool = ThreadPoolExecutor(max_workers=1)


def fetch_price(symbol):
    """Ask the exchange; this library knows no async, and waits where it stands."""
    time.sleep(0.05)
    return "202.91"


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    price = await asyncio.get_running_loop().run_in_executor(pool, fetch_price, symbol)
    return {"symbol": symbol, "price": price}
