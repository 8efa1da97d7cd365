"""send="httpx": the client is kept between the schedules, and nothing else is."""

import asyncio

import httpx
from deskbook.races import explore, get
from fastapi import FastAPI, Request, Response


def app_that_counts_visits():
    app = FastAPI()
    app.state.cookies = []

    @app.get("/")
    async def handler(request: Request, response: Response):
        app.state.cookies.append(dict(request.cookies))
        await asyncio.sleep(0)
        response.set_cookie("visited", "yes")

    return app


async def test_a_cookie_of_one_schedule_is_not_sent_in_the_next():
    report = await explore(
        app_that_counts_visits,
        {"A": get("/"), "B": get("/")},
        invariant=lambda app, responses: app.state.cookies == [{}, {}],
        send="httpx",
    )
    assert (report.verdict, report.runs > 1) == ("exhausted", True), report


async def test_both_ways_to_send_give_the_same_answer():
    seen = {}
    for way in ("asgi", "httpx"):

        def keep(app, responses, way=way):
            answer = responses["A"]
            seen[way] = (answer.status_code, answer.content, answer.cookies, type(answer))

        await explore(app_that_counts_visits, {"A": get("/")}, invariant=keep, send=way)
    assert seen["asgi"] == seen["httpx"]
    assert seen["asgi"][3] is httpx.Response


async def test_an_exception_of_the_service_is_kept_with_the_response():
    def make():
        app = FastAPI()

        @app.get("/")
        async def handler():
            raise RuntimeError("the till is stuck")

        return app

    for way in ("asgi", "httpx"):
        report = await explore(make, {"A": get("/")}, send=way)
        assert (
            report.counterexample.failure.message == "request A failed with RuntimeError: the till is stuck"
        )
