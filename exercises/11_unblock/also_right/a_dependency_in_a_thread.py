import time

from fastapi import Depends, FastAPI

app = FastAPI()


def fetch_price(symbol):
    """Ask the exchange; this library knows no async, and waits where it stands."""
    time.sleep(0.05)
    return "202.91"


def price_of(symbol: str):
    return fetch_price(symbol)


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str, price: str = Depends(price_of)):
    return {"symbol": symbol, "price": price}
