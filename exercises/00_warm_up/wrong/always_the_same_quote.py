# rejected by test_the_symbol_that_was_asked_for: the symbol of the address is never looked at
from fastapi import FastAPI

PRICES = {"IBM": "202.91", "AAPL": "430.47"}
app = FastAPI()


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    return {"symbol": "IBM", "price": PRICES["IBM"]}
