import asyncio
import threading
import time

from fastapi import FastAPI

app = FastAPI()


class Counter:
    value = 0


orders = Counter()


async def ask_rate(currency):
    """A client that speaks async."""
    await asyncio.sleep(0.01)
    return "1.08"


def write_report(day):
    """A library that knows no async, and waits where it stands."""
    time.sleep(0.01)
    return "12 orders"


@app.get("/rates/{currency}")
async def read_rate(currency: str):
    return {"currency": currency, "rate": await ask_rate(currency)}


@app.get("/reports/{day}")
def read_report(day: str):
    return {"day": day, "report": write_report(day)}


lock = threading.Lock()


@app.post("/orders")
def place_order():
    with lock:
        number = orders.value + 1
        orders.value = number
    return {"number": number}
