# rejected by test_an_unknown_symbol_is_not_found (error): the KeyError becomes a 500
from fastapi import FastAPI

PRICES = {"IBM": "202.91", "AAPL": "430.47"}
app = FastAPI()


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    return {"symbol": symbol, "price": PRICES[symbol]}
