"""Ask of each endpoint: does it await, does it block, or does it do neither?

What awaits is `async def`. What blocks is a plain `def`: FastAPI runs it in a thread, and the loop stays
free. What does neither belongs on the loop as `async def`: it costs no thread, and between two awaits
nothing else runs, so reading and writing the counter stay together. In threads the same two lines lose
numbers.
"""

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
async def read_rate(currency: str):
    return {"currency": currency, "rate": await ask_rate(currency)}


@app.get("/reports/{day}")
def read_report(day: str):
    return {"day": day, "report": write_report(day)}


@app.post("/orders")
async def place_order():
    number = orders.value + 1
    orders.value = number
    return {"number": number}
