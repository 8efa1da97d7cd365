"""Work must stop for maintenance, and background work goes on after the answer."""

import asyncio
from types import SimpleNamespace

from deskbook.races import post
from fastapi import BackgroundTasks, HTTPException

from race_cases.corpus.cases import RIGHT, WRONG, collector, io
from race_cases.corpus.desks import codes, desks

CASES = []
case = collector(CASES)
desk = desks(CASES)


def barrier():
    s = SimpleNamespace(
        open=asyncio.Event(), idle=asyncio.Event(), closed=False, inside=0, late=0, stop=False, rounds=0
    )
    s.open.set()
    return s


async def write(s):
    await io()
    s.late += s.closed


async def maintain(s):
    s.closed = True
    await io()
    s.closed = False
    s.open.set()


async def write_once_past_the_barrier(s):
    await s.open.wait()
    await write(s)


async def close_and_maintain(s):
    s.open.clear()
    await maintain(s)


async def write_and_be_counted(s):
    while not s.open.is_set():
        await s.open.wait()
    s.inside += 1
    try:
        await write(s)
    finally:
        s.inside -= 1
        if s.inside == 0:
            s.idle.set()


async def close_wait_and_maintain(s):
    s.open.clear()
    while s.inside:
        s.idle.clear()
        await s.idle.wait()
    await maintain(s)


async def wait_announce_close_and_maintain(s):
    while s.inside:
        s.idle.clear()
        await s.idle.wait()
    await io()
    s.open.clear()
    await maintain(s)


async def wait_close_and_maintain(s):
    while s.inside:
        s.idle.clear()
        await s.idle.wait()
        await io()
    s.open.clear()
    await io()
    await maintain(s)


case(
    WRONG,
    "the barrier stops those who come, not the one who passed it just before and is writing",
    make=barrier,
    check=lambda s, r: s.late == 0,
    requests={"A": write_once_past_the_barrier, "M": close_and_maintain},
)(close_and_maintain)

case(
    WRONG,
    "between the last writer's leaving and the closing lies a round trip, in which the next one comes in",
    make=barrier,
    check=lambda s, r: s.late == 0,
    requests={"A": write_and_be_counted, "B": write_and_be_counted, "M": wait_announce_close_and_maintain},
)(wait_announce_close_and_maintain)

# This case was first labelled wrong. Read by hand, it is right: a writer would have to enter after M has seen
# nobody inside and before M closes, and between these two lines there is no await. After the await in the
# loop M looks again.
case(
    RIGHT,
    "seeing nobody inside and closing are one step, however long the wait before it was",
    make=barrier,
    check=lambda s, r: s.late == 0,
    requests={"A": write_and_be_counted, "B": write_and_be_counted, "M": wait_close_and_maintain},
)(wait_close_and_maintain)

case(
    RIGHT,
    "first closed, then waited until those inside are gone; and who wakes up late asks the barrier again",
    make=barrier,
    check=lambda s, r: s.late == 0,
    requests={"A": write_and_be_counted, "B": write_and_be_counted, "M": close_wait_and_maintain},
)(close_wait_and_maintain)


MAILS = {"A": post("/orders", params={"item": "tea"}), "B": post("/orders", params={"item": "rice"})}


def mail_desk(app, argument):
    app.state.current, app.state.mails = None, []

    async def mail(item):
        await io()
        app.state.mails.append(item())

    @app.post("/orders")
    async def order(item: str, background: BackgroundTasks):
        app.state.current = item
        background.add_task(mail, argument(app, item))


@desk(
    WRONG,
    "the background task asks for the current order when it runs, and that is the order of another by then",
    requests=MAILS,
    check=lambda app, r: sorted(app.state.mails) == ["rice", "tea"],
)
def background_task_reads_the_current_order(app):
    mail_desk(app, lambda app, item: lambda: app.state.current)


@desk(
    RIGHT,
    "the background task is given the order it is about",
    requests=MAILS,
    check=lambda app, r: sorted(app.state.mails) == ["rice", "tea"],
)
def background_task_is_given_its_order(app):
    mail_desk(app, lambda app, item: lambda: item)


LAST_PIECE = {"A": post("/buy"), "B": post("/buy")}


def shop_with_one_piece(app, count_down_in_background):
    app.state.stock = 1

    def count_down():
        app.state.stock -= 1

    async def count_down_later():
        count_down()

    async def mail():
        await io()

    @app.post("/buy")
    async def buy(background: BackgroundTasks):
        if app.state.stock < 1:
            raise HTTPException(409)
        if count_down_in_background:
            background.add_task(count_down_later)
        else:
            count_down()
            background.add_task(mail)


@desk(
    WRONG,
    "the stock is counted down behind the answer, and until then a second buyer finds the last piece",
    requests=LAST_PIECE,
    check=lambda app, r: app.state.stock == 0 and codes(r) == [200, 409],
)
def stock_counted_down_in_the_background(app):
    shop_with_one_piece(app, count_down_in_background=True)


@desk(
    RIGHT,
    "the stock is counted down in the step that looked at it; only the mail comes later",
    requests=LAST_PIECE,
    check=lambda app, r: app.state.stock == 0 and codes(r) == [200, 409],
)
def stock_counted_down_before_the_answer(app):
    shop_with_one_piece(app, count_down_in_background=False)
