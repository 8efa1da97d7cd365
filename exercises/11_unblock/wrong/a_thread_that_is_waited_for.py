# rejected by test_the_loop_goes_on: `result()` waits on the loop for the thread
import time
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI

app = FastAPI()
pool = ThreadPoolExecutor()


def fetch_price(symbol):
    """Ask the exchange; this library knows no async, and waits where it stands."""
    time.sleep(0.05)
    return "202.91"


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    price = pool.submit(fetch_price, symbol).result()
    return {"symbol": symbol, "price": price}
