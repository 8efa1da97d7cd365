"""What everything is compared with: one quote from FastAPI, and from Starlette, with nothing around."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from deskbook.module_cells import write_module
from deskbook.serving import ServedApp, serving_app

FASTAPI = """
from decimal import Decimal
from fastapi import FastAPI
from pydantic import BaseModel

class Quote(BaseModel):
    symbol: str
    bid: Decimal
    ask: Decimal
    last: Decimal
    as_of: str

app = FastAPI()

@app.get("/quote")
async def quote() -> Quote:
    price = Decimal("430.47")
    return Quote(symbol="AAPL", bid=price, ask=price, last=price, as_of="2026-11-22T09:30:00Z")
"""

STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def quote(request):
    price = "430.47"
    content = {"symbol": "AAPL", "bid": price, "ask": price, "last": price, "as_of": "2026-11-22T09:30:00Z"}
    return JSONResponse(content)

app = Starlette(routes=[Route("/quote", quote)])
"""


@dataclass(frozen=True)
class Bare:
    """The two apps while they run, each with a route /quote."""

    fastapi: ServedApp
    starlette: ServedApp


@asynccontextmanager
async def bare_apps(workers: int = 1) -> AsyncIterator[Bare]:
    """Serve both."""
    write_module("bare_fastapi_of_the_bench", FASTAPI)
    write_module("bare_starlette_of_the_bench", STARLETTE)
    async with (
        serving_app("bare_fastapi_of_the_bench:app", workers=workers) as fastapi,
        serving_app("bare_starlette_of_the_bench:app", workers=workers) as starlette,
    ):
        yield Bare(fastapi, starlette)
