"""Streams, exception handlers and route classes: code of the desk that the framework calls."""

from deskbook.races import get, post
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute

from race_cases.corpus.cases import RIGHT, WRONG, io
from race_cases.corpus.desks import accepted, codes, desks

CASES = []
desk = desks(CASES)
STATEMENT = {"read": get("/statement"), "move": post("/move")}


def statement_adds_up(app, r):
    return r["read"].text in ("60 40 ", "20 80 ")


def statement_desk(app, lines):
    app.state.giro, app.state.savings = 60, 40

    @app.get("/statement")
    async def statement():
        return StreamingResponse(lines())

    @app.post("/move")
    async def move():
        app.state.giro, app.state.savings = 20, 80


@desk(
    WRONG,
    "the generator reads the second line when the first has been sent, and money moves meanwhile",
    requests=STATEMENT,
    check=statement_adds_up,
)
def stream_that_reads_as_it_goes(app):
    async def lines():
        for name in ("giro", "savings"):
            yield f"{getattr(app.state, name)} "
            await io()

    statement_desk(app, lines)


@desk(
    WRONG,
    "a def generator goes through the thread pool for each line, so the request pauses between two lines",
    requests=STATEMENT,
    check=statement_adds_up,
)
def stream_of_a_def_generator(app):
    def lines():
        yield f"{app.state.giro} "
        yield f"{app.state.savings} "

    statement_desk(app, lines)


@desk(
    RIGHT,
    "both lines are read before the first one is sent",
    requests=STATEMENT,
    check=statement_adds_up,
)
def stream_of_a_snapshot(app):
    async def lines():
        both = [app.state.giro, app.state.savings]
        for amount in both:
            yield f"{amount} "
            await io()

    statement_desk(app, lines)


BOOKINGS = {"A": post("/book", params={"amount": 120}), "B": post("/book", params={"amount": 50})}


class Overdrawn(Exception):
    """More was booked than there is."""


def overdrawn_desk(app, undo):
    app.state.booked = 0

    @app.exception_handler(Overdrawn)
    async def refuse(request, error):
        await undo(*error.args)
        return JSONResponse("overdrawn", 409)

    @app.post("/book")
    async def book(amount: int):
        before = app.state.booked
        app.state.booked += amount
        if app.state.booked > 100:
            raise Overdrawn(before, amount)


@desk(
    WRONG,
    "the exception handler awaits before it undoes, and a booking is refused for one that does not stand",
    requests=BOOKINGS,
    check=lambda app, r: accepted(r) == ["B"],
)
def undone_in_the_exception_handler(app):
    async def undo(before, amount):
        await io()
        app.state.booked -= amount

    overdrawn_desk(app, undo)


@desk(
    RIGHT,
    "nothing is awaited between the booking and its undoing, although it crosses the framework's handlers",
    requests=BOOKINGS,
    check=lambda app, r: accepted(r) == ["B"] and app.state.booked == 50,
)
def undone_at_once_in_the_exception_handler(app):
    async def undo(before, amount):
        app.state.booked -= amount
        await io()

    overdrawn_desk(app, undo)


TICKETS = {name: post("/tickets") for name in "AB"}


def tickets_route(app, look_first):
    """Sell the one ticket in a route class of the desk's own."""
    app.state.left = 1

    class Sold(APIRoute):
        def get_route_handler(self):
            handle = super().get_route_handler()

            async def sell(request):
                if app.state.left < 1:
                    return JSONResponse("sold out", 409)
                if look_first:
                    response = await handle(request)
                    app.state.left -= 1
                    return response
                app.state.left -= 1
                return await handle(request)

            return sell

    app.router.route_class = Sold

    @app.post("/tickets")
    async def ticket():
        await io()


@desk(
    WRONG,
    "the route class looks before the handler and counts down after it",
    requests=TICKETS,
    check=lambda app, r: codes(r) == [200, 409],
)
def ticket_counted_behind_the_handler(app):
    tickets_route(app, look_first=True)


@desk(
    RIGHT,
    "the route class looks and counts down before the handler can await",
    requests=TICKETS,
    check=lambda app, r: codes(r) == [200, 409],
)
def ticket_counted_before_the_handler(app):
    tickets_route(app, look_first=False)
