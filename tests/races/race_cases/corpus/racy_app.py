"""The smallest racy app: two requests add one to `n`, and one of them gets lost."""

import asyncio

from deskbook.races import get
from fastapi import FastAPI


def app_with(handler):
    app = FastAPI()
    app.state.n = 0
    app.get("/")(handler(app))
    return app


def bumping(app):
    async def handler():
        value = app.state.n
        await asyncio.sleep(0)
        app.state.n = value + 1

    return handler


def racy():
    return app_with(bumping)


def n_is_two(app, responses):
    assert app.state.n == 2, f"n is {app.state.n}"


BOTH = {"A": get("/"), "B": get("/")}
