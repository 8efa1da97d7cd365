"""Holds that run out while somebody pays."""

from deskbook.races import post
from fastapi import HTTPException

from race_cases.corpus.cases import RIGHT, WRONG, io
from race_cases.corpus.desks import desks

CASES = []
desk = desks(CASES)
HELD_SEAT = {"pay": post("/pay"), "sweep": post("/sweep"), "next": post("/take")}


def held_seat(app, look_again):
    app.state.holder, app.state.paid = "anna", []

    @app.post("/pay")
    async def pay():
        if app.state.holder != "anna":
            raise HTTPException(410)
        await io()
        if look_again and app.state.holder != "anna":
            raise HTTPException(410)
        app.state.paid.append("anna")

    @app.post("/sweep")
    async def sweep():
        if "anna" not in app.state.paid:
            app.state.holder = None

    @app.post("/take")
    async def take():
        if app.state.holder is None:
            app.state.holder = "ben"
            app.state.paid.append("ben")


@desk(
    WRONG,
    "the hold runs out and is sold to the next while the payment is under way",
    requests=HELD_SEAT,
    check=lambda app, r: len(app.state.paid) <= 1,
)
def hold_that_runs_out_while_paying(app):
    held_seat(app, look_again=False)


@desk(
    RIGHT,
    "whether the hold still stands is asked after the payment, in the step that enters it",
    requests=HELD_SEAT,
    check=lambda app, r: len(app.state.paid) <= 1,
)
def hold_asked_again_after_paying(app):
    held_seat(app, look_again=True)
