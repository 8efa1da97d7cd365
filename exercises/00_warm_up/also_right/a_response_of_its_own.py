from fastapi import FastAPI
from fastapi.responses import JSONResponse

PRICES = {"IBM": "202.91", "AAPL": "430.47"}
app = FastAPI()


@app.get("/quotes/{symbol}")
def read_quote(symbol: str):
    price = PRICES.get(symbol)
    if price is None:
        return JSONResponse({"detail": "no such symbol"}, status_code=404)
    return {"symbol": symbol, "price": price}
