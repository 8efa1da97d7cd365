# rejected by test_an_unknown_symbol_is_not_found: 200 says that there is such a quote
from fastapi import FastAPI

PRICES = {"IBM": "202.91", "AAPL": "430.47"}
app = FastAPI()


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    return {"symbol": symbol, "price": PRICES.get(symbol)}
