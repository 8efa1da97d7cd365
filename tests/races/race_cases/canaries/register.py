"""What all canaries share: each makes an app with `app.state.n`, on which two requests race."""

import asyncio

from fastapi import FastAPI

CANARIES = {}


def canary(function):
    CANARIES[function.__name__] = function
    return function


def app_with_n(**options):
    app = FastAPI(**options)
    app.state.n = 0
    return app


async def bump(app):
    value = app.state.n
    await asyncio.sleep(0)
    app.state.n = value + 1


def endpoint(app):
    """Register what the decorated function does as the endpoint GET /."""

    def register(function):
        app.get("/")(function)
        return app

    return register
