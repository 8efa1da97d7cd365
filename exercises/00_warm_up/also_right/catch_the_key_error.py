from fastapi import FastAPI, HTTPException

PRICES = {"IBM": "202.91", "AAPL": "430.47"}
app = FastAPI()


@app.get("/quotes/{symbol}")
async def read_quote(symbol: str):
    try:
        return {"symbol": symbol, "price": PRICES[symbol]}
    except KeyError:
        raise HTTPException(404, "no such symbol") from None
