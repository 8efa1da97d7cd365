import time

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

app = FastAPI()


def fetch_price(symbol):
    """Ask the exchange; this library knows no async, and waits where it stands."""
    time.sleep(0.05)
    return "202.91"


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    price = await run_in_threadpool(fetch_price, symbol)
    return {"symbol": symbol, "price": price}
