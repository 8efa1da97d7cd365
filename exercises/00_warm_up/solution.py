"""What is not there is said with the status, not with an empty price.

A client reads the status first. With 404 it knows that the address leads nowhere; with 200 and an empty
price it would have to look into every body. `HTTPException` ends the request with the status that you name.
"""

from fastapi import FastAPI, HTTPException

PRICES = {"IBM": "202.91", "AAPL": "430.47"}
app = FastAPI()


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    if symbol not in PRICES:
        raise HTTPException(404, "no such symbol")
    return {"symbol": symbol, "price": PRICES[symbol]}
