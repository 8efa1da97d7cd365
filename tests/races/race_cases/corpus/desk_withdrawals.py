"""Cash desks: balances, fees, limits, holds and audits."""

import asyncio
from collections import defaultdict

from deskbook.races import get, post
from fastapi import HTTPException

from race_cases.corpus.cases import RIGHT, WRONG, io
from race_cases.corpus.desks import accepted, codes, desks

CASES = []
desk = desks(CASES)


def withdrawals(first, second):
    return {
        "A": post("/withdraw", params={"amount": first}),
        "B": post("/withdraw", params={"amount": second}),
    }


@desk(
    WRONG,
    "the check looks at the fresh balance, but what is written comes from the balance before the await",
    requests=withdrawals(30, 20),
    check=lambda app, r: app.state.balance == 50,
)
def fresh_check_stale_write(app):
    app.state.balance = 100

    @app.post("/withdraw")
    async def withdraw(amount: int):
        balance = app.state.balance
        await io()
        if app.state.balance < amount:
            raise HTTPException(409)
        app.state.balance = balance - amount


@desk(
    RIGHT,
    "the quick refusal before the await is only a courtesy: it is asked again, and no await follows",
    requests=withdrawals(60, 60),
    check=lambda app, r: codes(r) == [200, 409] and app.state.balance == 40,
)
def early_refusal_and_a_second_look(app):
    app.state.balance = 100

    @app.post("/withdraw")
    async def withdraw(amount: int):
        if app.state.balance < amount:
            raise HTTPException(409)
        await io()
        if app.state.balance < amount:
            raise HTTPException(409)
        app.state.balance -= amount


@desk(
    WRONG,
    "the left operand is read before the await on the right gives the fee",
    requests=withdrawals(10, 20),
    check=lambda app, r: app.state.fees == 3,
)
def fee_awaited_on_the_right(app):
    app.state.fees = 0

    async def fee(amount):
        await io()
        return amount // 10

    @app.post("/withdraw")
    async def withdraw(amount: int):
        app.state.fees = app.state.fees + await fee(amount)


@desk(
    RIGHT,
    "operands are evaluated from the left, so the await is over when the old sum is read",
    requests=withdrawals(10, 20),
    check=lambda app, r: app.state.fees == 3,
)
def fee_awaited_on_the_left(app):
    app.state.fees = 0

    async def fee(amount):
        await io()
        return amount // 10

    @app.post("/withdraw")
    async def withdraw(amount: int):
        app.state.fees = await fee(amount) + app.state.fees


def customer_with_two_accounts(app, lock_name):
    app.state.accounts = {"giro": 100, "savings": 100}
    app.state.spent = 0
    locks = defaultdict(asyncio.Lock)

    @app.post("/withdraw/{account}")
    async def withdraw(account: str, amount: int):
        async with locks[lock_name(account)]:
            if app.state.spent + amount > 100 or app.state.accounts[account] < amount:
                raise HTTPException(409)
            await io()
            app.state.accounts[account] -= amount
            app.state.spent += amount


BOTH_ACCOUNTS = {
    "A": post("/withdraw/giro", params={"amount": 70}),
    "B": post("/withdraw/savings", params={"amount": 70}),
}


@desk(
    WRONG,
    "the lock is that of the account, the limit is that of the customer who has two",
    requests=BOTH_ACCOUNTS,
    check=lambda app, r: app.state.spent <= 100,
)
def limit_of_the_customer_lock_of_the_account(app):
    customer_with_two_accounts(app, lambda account: account)


@desk(
    RIGHT,
    "limit and accounts belong to the customer, and so does the lock",
    requests=BOTH_ACCOUNTS,
    check=lambda app, r: app.state.spent == 70 and sum(app.state.accounts.values()) == 130,
)
def limit_of_the_customer_lock_of_the_customer(app):
    customer_with_two_accounts(app, lambda account: "customer 1")


def hold_desk(app, give_back):
    app.state.held = 0

    @app.post("/hold")
    async def hold(amount: int, card: str):
        before = app.state.held
        app.state.held += amount
        await io()
        if card == "declined":
            give_back(before, amount)
            raise HTTPException(402)


HOLDS = {
    "A": post("/hold", params={"amount": 10, "card": "declined"}),
    "B": post("/hold", params={"amount": 5, "card": "good"}),
}


@desk(
    WRONG,
    "the failed hold puts back the sum it saw before, and with it undoes the hold of the other",
    requests=HOLDS,
    check=lambda app, r: app.state.held == 5,
)
def hold_undone_by_the_old_sum(app):
    def give_back(before, amount):
        app.state.held = before

    hold_desk(app, give_back)


@desk(
    RIGHT,
    "the failed hold takes back its own part and no more",
    requests=HOLDS,
    check=lambda app, r: app.state.held == 5 and codes(r) == [200, 402],
)
def hold_undone_by_its_own_part(app):
    def give_back(before, amount):
        app.state.held -= amount

    hold_desk(app, give_back)


AUDIT = {"move": post("/move", params={"amount": 40}), "audit": get("/audit")}


@desk(
    WRONG,
    "the audit can look while the money has left one account and not reached the other",
    requests=AUDIT,
    check=lambda app, r: r["audit"].json() == 100,
)
def audit_between_two_halves(app):
    app.state.giro, app.state.savings = 100, 0

    @app.post("/move")
    async def move(amount: int):
        app.state.giro -= amount
        await io()
        app.state.savings += amount

    @app.get("/audit")
    async def audit():
        return app.state.giro + app.state.savings


@desk(
    WRONG,
    "the transfer is whole, but the audit reads one account before and the other after it",
    requests=AUDIT,
    check=lambda app, r: r["audit"].json() == 100,
)
def audit_in_two_reads(app):
    app.state.giro, app.state.savings = 100, 0

    @app.post("/move")
    async def move(amount: int):
        await io()
        app.state.giro -= amount
        app.state.savings += amount

    @app.get("/audit")
    async def audit():
        giro = app.state.giro
        await io()
        return giro + app.state.savings


@desk(
    RIGHT,
    "both halves of the transfer and both reads of the audit stand without an await between them",
    requests=AUDIT,
    check=lambda app, r: r["audit"].json() == 100,
)
def audit_of_whole_transfers(app):
    app.state.giro, app.state.savings = 100, 0

    @app.post("/move")
    async def move(amount: int):
        await io()
        app.state.giro -= amount
        app.state.savings += amount
        await io()

    @app.get("/audit")
    async def audit():
        await io()
        return app.state.giro + app.state.savings


INTEREST = {"pay": post("/interest"), "open": post("/accounts/carla")}


def interest_desk(app, walk):
    app.state.accounts = {"anna": 100, "ben": 200}

    @app.post("/interest")
    async def interest():
        for name in walk(app.state.accounts):
            await io()
            app.state.accounts[name] += 1

    @app.post("/accounts/{name}")
    async def open_account(name: str):
        await io()
        app.state.accounts[name] = 0


@desk(
    WRONG,
    "an account that is opened during the walk changes the size of the dict that is walked",
    requests=INTEREST,
    check=lambda app, r: accepted(r) == ["open", "pay"],
)
def interest_over_the_living_dict(app):
    interest_desk(app, lambda accounts: accounts)


@desk(
    RIGHT,
    "the walk goes over a list of names that nobody else has, and accounts are never closed",
    requests=INTEREST,
    check=lambda app, r: accepted(r) == ["open", "pay"] and app.state.accounts["ben"] == 201,
)
def interest_over_a_list_of_names(app):
    interest_desk(app, list)
