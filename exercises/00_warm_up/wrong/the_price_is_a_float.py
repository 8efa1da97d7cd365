# rejected by test_a_known_symbol_has_its_price: a float has lost what the desk promises to keep
from fastapi import FastAPI, HTTPException

PRICES = {"IBM": "202.91", "AAPL": "430.47"}
app = FastAPI()


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    if symbol not in PRICES:
        raise HTTPException(404, "no such symbol")
    return {"symbol": symbol, "price": float(PRICES[symbol])}
