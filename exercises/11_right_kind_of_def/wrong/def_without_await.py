# rejected by test_all_three_answer: a plain def cannot await, so a coroutine is returned
import asyncio
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
def read_rate(currency: str):
    return {"currency": currency, "rate": ask_rate(currency)}


@app.get("/reports/{day}")
def read_report(day: str):
    return {"day": day, "report": write_report(day)}


@app.post("/orders")
async def place_order():
    number = orders.value + 1
    orders.value = number
    return {"number": number}
