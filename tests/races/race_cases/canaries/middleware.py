"""Middleware of both kinds."""

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.middleware.base import BaseHTTPMiddleware

from race_cases.canaries.register import app_with_n, bump, canary, endpoint
from race_cases.canaries.requests import plain_await


@canary
def base_http_middleware_around_a_race():
    app = plain_await()

    @app.middleware("http")
    async def middleware(request, call_next):
        return await call_next(request)

    return app


@canary
def base_http_middleware_reads_and_endpoint_writes():
    app = app_with_n()

    @endpoint(app)
    async def handler(request: Request):
        app.state.n = request.state.value + 1

    @app.middleware("http")
    async def middleware(request, call_next):
        request.state.value = app.state.n
        return await call_next(request)

    return app


@canary
def base_http_middleware_writes_after_the_endpoint_read():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        return JSONResponse({}, headers={"x-seen": str(app.state.n)})

    @app.middleware("http")
    async def middleware(request, call_next):
        response = await call_next(request)
        app.state.n = int(response.headers["x-seen"]) + 1
        return response

    return app


@canary
def class_based_http_middleware():
    app = plain_await()

    class Passing(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            return await call_next(request)

    app.add_middleware(Passing)
    return app


@canary
def pure_asgi_middleware_that_awaits():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        return {}

    class Counting:
        def __init__(self, inner):
            self.inner = inner

        async def __call__(self, scope, receive, send):
            await bump(app)
            await self.inner(scope, receive, send)

    app.add_middleware(Counting)
    return app


@canary
def pure_asgi_middleware_around_send():
    app = app_with_n()

    @endpoint(app)
    async def handler():
        return {}

    class Counting:
        def __init__(self, inner):
            self.inner = inner

        async def __call__(self, scope, receive, send):
            async def counting_send(message):
                if message["type"] == "http.response.body":
                    value = app.state.n
                    await send(message)
                    app.state.n = value + 1
                else:
                    await send(message)

            await self.inner(scope, receive, counting_send)

    app.add_middleware(Counting)
    return app
