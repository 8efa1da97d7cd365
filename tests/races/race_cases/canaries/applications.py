"""How an application is put together: lifespan state, handlers, mounted parts, routers."""

import asyncio
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.applications import Starlette
from starlette.routing import Route

from race_cases.canaries.register import app_with_n, bump, canary, endpoint
from race_cases.canaries.requests import plain_await


@canary
def lifespan_state():
    @asynccontextmanager
    async def lifespan(app):
        yield {"counter": app.state}

    app = app_with_n(lifespan=lifespan)

    @endpoint(app)
    async def handler(request: Request):
        counter = request.state.counter
        value = counter.n
        await asyncio.sleep(0)
        counter.n = value + 1

    return app


@canary
def exception_handler():
    app = app_with_n()

    @app.exception_handler(HTTPException)
    async def handle(request, error):
        await bump(app)
        return JSONResponse({}, 418)

    @endpoint(app)
    async def handler():
        raise HTTPException(418)

    return app


@canary
def mounted_sub_application():
    inner = plain_await()
    app = FastAPI()
    app.state = inner.state
    app.mount("/", inner)
    return app


@canary
def included_router_with_a_dependency():
    app = app_with_n()

    async def dependency():
        await bump(app)

    router = APIRouter(dependencies=[Depends(dependency)])

    @router.get("/")
    async def handler():
        return {}

    app.include_router(router)
    return app


@canary
def plain_starlette():
    async def handler(request):
        await bump(app)
        return JSONResponse({})

    app = Starlette(routes=[Route("/", handler)])
    app.state.n = 0
    return app
