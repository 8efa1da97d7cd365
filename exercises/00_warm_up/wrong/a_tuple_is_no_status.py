# rejected by test_an_unknown_symbol_is_not_found: another framework reads this as a status, FastAPI does not
from fastapi import FastAPI

PRICES = {"IBM": "202.91", "AAPL": "430.47"}
app = FastAPI()


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    if symbol not in PRICES:
        return {"detail": "no such symbol"}, 404
    return {"symbol": symbol, "price": PRICES[symbol]}
