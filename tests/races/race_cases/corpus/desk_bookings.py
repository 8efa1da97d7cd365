"""Booking desks: seats, coupons, order numbers and waiting lists."""

import asyncio
import itertools

from deskbook.races import post
from fastapi import HTTPException

from race_cases.corpus.cases import RIGHT, WRONG, io
from race_cases.corpus.desks import codes, desks

CASES = []
desk = desks(CASES)
COUPONS = {"A": post("/redeem", params={"card": "declined"}), "B": post("/redeem", params={"card": "good"})}


@desk(
    WRONG,
    "B is refused for a coupon that A only held and gave back: neither order of the two does that",
    requests=COUPONS,
    check=None,
    oracle="serializable",
)
def coupon_refused_for_a_hold_that_fails(app):
    app.state.used = False

    @app.post("/redeem")
    async def redeem(card: str):
        if app.state.used:
            raise HTTPException(409)
        app.state.used = True
        await io()
        if card == "declined":
            app.state.used = False
            raise HTTPException(402)


@desk(
    RIGHT,
    "the answer to B waits until A's payment is decided, so each outcome is that of one after the other",
    requests=COUPONS,
    check=None,
    oracle="serializable",
)
def coupon_decided_under_the_lock(app):
    app.state.used = False
    deciding = asyncio.Lock()

    @app.post("/redeem")
    async def redeem(card: str):
        async with deciding:
            if app.state.used:
                raise HTTPException(409)
            await io()
            if card == "declined":
                raise HTTPException(402)
            app.state.used = True


ORDERS = {"A": post("/orders", json={"item": "tea"}), "B": post("/orders", json={"item": "rice"})}


@desk(
    WRONG,
    "two orders find the same highest number, and setdefault drops the second one without a word",
    requests=ORDERS,
    check=lambda app, r: sorted(app.state.orders.values()) == ["rice", "tea"],
)
def order_dropped_by_setdefault(app):
    app.state.orders = {}

    @app.post("/orders")
    async def order(order: dict):
        number = max(app.state.orders, default=0) + 1
        await io()
        app.state.orders.setdefault(number, order["item"])


@desk(
    RIGHT,
    "the counter is drawn in one step and never goes back",
    requests=ORDERS,
    check=lambda app, r: app.state.orders in ({1: "tea", 2: "rice"}, {1: "rice", 2: "tea"}),
)
def order_number_from_a_counter(app):
    app.state.orders = {}
    numbers = itertools.count(1)

    @app.post("/orders")
    async def order(order: dict):
        number = next(numbers)
        await io()
        app.state.orders[number] = order["item"]


PAID_ORDERS = {
    "A": post("/orders", params={"card": "declined"}),
    "B": post("/orders", params={"card": "good"}),
}


@desk(
    WRONG,
    "a number is given back by counting down, although a higher one is in use by then",
    requests=PAID_ORDERS,
    check=lambda app, r: app.state.last + 1 not in app.state.orders,
)
def order_number_counted_back(app):
    app.state.last, app.state.orders = 0, {}

    @app.post("/orders")
    async def order(card: str):
        app.state.last += 1
        number = app.state.last
        await io()
        if card == "declined":
            app.state.last -= 1
            raise HTTPException(402)
        app.state.orders[number] = card


@desk(
    RIGHT,
    "the number is drawn when nothing can fail any more, so there is neither a gap nor a double",
    requests=PAID_ORDERS,
    check=lambda app, r: app.state.last == 1 and app.state.orders == {1: "good"},
)
def order_number_drawn_last(app):
    app.state.last, app.state.orders = 0, {}

    @app.post("/orders")
    async def order(card: str):
        await io()
        if card == "declined":
            raise HTTPException(402)
        app.state.last += 1
        app.state.orders[app.state.last] = card


def two_seats(first, second):
    return {
        "A": post("/seats", json={"who": "anna", "seats": first}),
        "B": post("/seats", json={"who": "ben", "seats": second}),
    }


def owns_all_or_none(app, who, seats):
    return {seat for seat in seats if app.state.owner.get(seat) == who} in (set(), set(seats))


@desk(
    WRONG,
    "all seats are looked at first and then taken one by one, with a round trip for each",
    requests=two_seats([1, 2], [2, 3]),
    check=lambda app, r: owns_all_or_none(app, "anna", [1, 2]) and owns_all_or_none(app, "ben", [2, 3]),
)
def seats_looked_at_then_taken(app):
    app.state.owner = {}

    @app.post("/seats")
    async def book(wish: dict):
        if any(seat in app.state.owner for seat in wish["seats"]):
            raise HTTPException(409)
        for seat in wish["seats"]:
            await io()
            app.state.owner[seat] = wish["who"]


def seats_one_by_one(app, in_order, release=None):
    app.state.owner = {}

    @app.post("/seats")
    async def book(wish: dict):
        taken = []
        for seat in in_order(wish["seats"]):
            if app.state.owner.setdefault(seat, wish["who"]) != wish["who"]:
                if release is not None:
                    await release()
                for mine in taken:
                    del app.state.owner[mine]
                raise HTTPException(409)
            taken.append(seat)
            await io()


# This case was first labelled wrong. Read by hand, it is right: A takes 1, B takes 2, A meets B at 2 and
# gives 1 up at once, B finds 1 free. For both to give up, the second would have to meet a seat that the first
# has left.
@desk(
    RIGHT,
    "the first to meet the other gives up in that very step, and the other finds the seat free",
    requests=two_seats([1, 2], [2, 1]),
    check=lambda app, r: codes(r) == [200, 409] and len(set(app.state.owner.values())) == 1,
)
def seats_given_up_at_once(app):
    seats_one_by_one(app, list)


@desk(
    WRONG,
    "each holds what the other wants and gives it up over a round trip: the best seats stay empty",
    requests=two_seats([1, 2], [2, 1]),
    check=lambda app, r: codes(r) == [200, 409],
)
def seats_given_up_by_both(app):
    seats_one_by_one(app, list, release=io)


@desk(
    RIGHT,
    "who has the lower seat first gets both, for the other asks for the lower one first too and stops there",
    requests=two_seats([1, 2], [2, 1]),
    check=lambda app, r: codes(r) == [200, 409] and len(set(app.state.owner.values())) == 1,
)
def seats_taken_in_order(app):
    seats_one_by_one(app, sorted)


WAITING = {"join": post("/waiting"), "leave": post("/leave")}


def waiting_desk(app, look_before_the_round_trip):
    app.state.free, app.state.waiting, app.state.seated = 0, [], []

    @app.post("/waiting")
    async def join():
        if look_before_the_round_trip:
            full = app.state.free == 0
            await io()
        else:
            await io()
            full = app.state.free == 0
        if full:
            app.state.waiting.append("anna")
        else:
            app.state.free -= 1
            app.state.seated.append("anna")

    @app.post("/leave")
    async def leave():
        await io()
        if app.state.waiting:
            app.state.seated.append(app.state.waiting.pop(0))
        else:
            app.state.free += 1


@desk(
    WRONG,
    "the seat becomes free between the look and the entry in the list: a free seat and someone who waits",
    requests=WAITING,
    check=lambda app, r: app.state.seated == ["anna"],
)
def waiting_beside_a_free_seat(app):
    waiting_desk(app, look_before_the_round_trip=True)


@desk(
    RIGHT,
    "the look and the entry are one step, and so are the look at the list and the freeing",
    requests=WAITING,
    check=lambda app, r: app.state.seated == ["anna"] and app.state.free == 0,
)
def waiting_list_in_one_step(app):
    waiting_desk(app, look_before_the_round_trip=False)
