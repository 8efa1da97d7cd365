"""Dependencies, context variables and middleware: what belongs to one request and what to all."""

from contextvars import ContextVar
from types import SimpleNamespace
from typing import Annotated

from deskbook.races import get, post
from fastapi import Depends, HTTPException, Request
from fastapi.responses import JSONResponse

from race_cases.corpus.cases import RIGHT, WRONG, io
from race_cases.corpus.desks import accepted, codes, desks

CASES = []
desk = desks(CASES)
LAST_MONEY = {name: post("/withdraw", params={"amount": 60}) for name in "AB"}


def one_withdrawal(app, r):
    return codes(r) == [200, 409] and app.state.balance == 40


@desk(
    WRONG,
    "there is no await to be seen, but a def dependency runs in a thread, and the handler goes on later",
    requests=LAST_MONEY,
    check=one_withdrawal,
)
def check_in_a_def_dependency(app):
    app.state.balance = 100

    def enough(amount: int):
        if app.state.balance < amount:
            raise HTTPException(409)
        return amount

    @app.post("/withdraw")
    async def withdraw(amount: int = Depends(enough)):
        app.state.balance -= amount


@desk(
    RIGHT,
    "an async dependency that awaits nothing and the handler behind it are one step",
    requests=LAST_MONEY,
    check=one_withdrawal,
)
def check_in_an_async_dependency(app):
    app.state.balance = 100

    async def enough(amount: int):
        if app.state.balance < amount:
            raise HTTPException(409)
        return amount

    @app.post("/withdraw")
    async def withdraw(amount: int = Depends(enough)):
        app.state.balance -= amount


@desk(
    WRONG,
    "a second dependency, which asks another service who this is, awaits between the check and the handler",
    requests=LAST_MONEY,
    check=one_withdrawal,
)
def await_hidden_in_the_next_dependency(app):
    app.state.balance = 100

    async def enough(amount: int):
        if app.state.balance < amount:
            raise HTTPException(409)
        return amount

    async def teller():
        await io()
        return "anna"

    @app.post("/withdraw")
    async def withdraw(amount: int = Depends(enough), name: str = Depends(teller)):
        app.state.balance -= amount


READS = {"A": get("/rows"), "B": get("/rows")}


@desk(
    WRONG,
    "the session is common, and the first request to end closes it under the hands of the other",
    requests=READS,
    check=lambda app, r: accepted(r) == ["A", "B"],
)
def session_shared_through_the_state(app):
    app.state.session = None

    async def session():
        if app.state.session is None:
            app.state.session = SimpleNamespace(open=True)
        yield app.state.session
        app.state.session.open = False
        app.state.session = None

    @app.get("/rows")
    async def rows(db: Annotated[SimpleNamespace, Depends(session)]):
        await io()
        if not db.open:
            raise HTTPException(500)


@desk(
    RIGHT,
    "each request has a session of its own and closes that one",
    requests=READS,
    check=lambda app, r: accepted(r) == ["A", "B"],
)
def session_of_the_request(app):
    async def session():
        own = SimpleNamespace(open=True)
        yield own
        own.open = False

    @app.get("/rows")
    async def rows(db: Annotated[SimpleNamespace, Depends(session)]):
        await io()
        if not db.open:
            raise HTTPException(500)


UNITS = {"A": post("/add", params={"amount": 10}), "B": post("/add", params={"amount": 20})}


@desk(
    WRONG,
    "the unit of work reads the total when it begins and writes it back whole when the request ends",
    requests=UNITS,
    check=lambda app, r: app.state.total == 30,
)
def unit_of_work_writes_the_whole(app):
    app.state.total = 0

    async def unit():
        work = SimpleNamespace(total=app.state.total)
        yield work
        app.state.total = work.total

    @app.post("/add")
    async def add(amount: int, work: Annotated[SimpleNamespace, Depends(unit)]):
        await io()
        work.total += amount


@desk(
    RIGHT,
    "the unit of work collects what changes and adds it in one step at the end",
    requests=UNITS,
    check=lambda app, r: app.state.total == 30,
)
def unit_of_work_adds_the_change(app):
    app.state.total = 0

    async def unit():
        work = SimpleNamespace(change=0)
        yield work
        app.state.total += work.change

    @app.post("/add")
    async def add(amount: int, work: Annotated[SimpleNamespace, Depends(unit)]):
        await io()
        work.change += amount


WHO = {name: get("/me", headers={"X-User": user}) for name, user in (("A", "anna"), ("B", "ben"))}


def each_is_told_its_own_name(app, r):
    return accepted(r) == ["A", "B"] and r["A"].json() == "anna" and r["B"].json() == "ben"


def asks_who(app, remember, recall):
    async def user(request: Request):
        remember(request.headers["X-User"])

    @app.get("/me", dependencies=[Depends(user)])
    async def me():
        await io()
        return recall()


@desk(
    WRONG,
    "the user is kept in one place for the whole process, like a global of a library for threads",
    requests=WHO,
    check=each_is_told_its_own_name,
)
def user_in_a_global(app):
    current = SimpleNamespace(user=None)
    asks_who(app, lambda name: setattr(current, "user", name), lambda: current.user)


shared = ContextVar("shared", default={})  # noqa: B039 - the defect of the next case
own = ContextVar("own")


@desk(
    WRONG,
    "the variable is of the context, but its default is one dict, and all of them write into that",
    requests=WHO,
    check=each_is_told_its_own_name,
)
def user_in_the_default_of_a_contextvar(app):
    asks_who(app, lambda name: shared.get().update(user=name), lambda: shared.get()["user"])


@desk(
    RIGHT,
    "the variable is set, not changed, and each request runs in a context of its own",
    requests=WHO,
    check=each_is_told_its_own_name,
)
def user_set_in_a_contextvar(app):
    asks_who(app, own.set, own.get)


class Memo:
    """A pure ASGI middleware that remembers who asks, on itself or on the scope."""

    def __init__(self, app, on_the_scope):
        self.app = app
        self.on_the_scope = on_the_scope

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            user = dict(scope["headers"])[b"x-user"].decode()
            self.user = user
            scope["memo"] = SimpleNamespace(user=user) if self.on_the_scope else self
        await self.app(scope, receive, send)


def asks_the_middleware(app, on_the_scope):
    app.add_middleware(Memo, on_the_scope=on_the_scope)

    @app.get("/me")
    async def me(request: Request):
        await io()
        return request.scope["memo"].user


@desk(
    WRONG,
    "there is one middleware object for all requests, and it remembers the last one",
    requests=WHO,
    check=each_is_told_its_own_name,
)
def user_on_the_middleware(app):
    asks_the_middleware(app, on_the_scope=False)


@desk(RIGHT, "the scope belongs to one request", requests=WHO, check=each_is_told_its_own_name)
def user_on_the_scope(app):
    asks_the_middleware(app, on_the_scope=True)


def limited_to_one(app, count_before):
    app.state.seen = 0

    @app.middleware("http")
    async def limit(request, call_next):
        if app.state.seen >= 1:
            return JSONResponse("slow down", 429)
        app.state.seen += count_before
        response = await call_next(request)
        app.state.seen += not count_before
        return response

    @app.get("/rows")
    async def rows():
        await io()


@desk(
    WRONG,
    "the request is counted when it has been answered, so all that come meanwhile are let in",
    requests=READS,
    check=lambda app, r: codes(r) == [200, 429],
)
def rate_counted_after_the_answer(app):
    limited_to_one(app, count_before=False)


@desk(
    RIGHT,
    "looked at and counted in one step, before anything is awaited",
    requests=READS,
    check=lambda app, r: codes(r) == [200, 429],
)
def rate_counted_before_the_call(app):
    limited_to_one(app, count_before=True)
