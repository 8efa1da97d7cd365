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
    loop = asyncio.get_running_loop()
    price = await loop.run_in_executor(None, fetch_price, symbol)
    return {"symbol": symbol, "price": price}
