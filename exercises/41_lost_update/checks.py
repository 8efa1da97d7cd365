import asyncio
from types import SimpleNamespace

from deskbook.races import can_overlap, explore_sync, post

START = {"ann": 100, "ben": 100}


class RiskDesk:
    """Says yes or no after a while, and notes what the account held when it was asked."""

    def __init__(self, says=True):
        self.says = says
        self.asked = []

    async def approve(self, name, amount):
        self.asked.append((name, amount))
        await asyncio.sleep(0)
        return self.says


def make_desk(answer, says=True):
    risk_desk = RiskDesk(says)
    app = answer.make_app(dict(START), risk_desk)
    return SimpleNamespace(app=app, risk_desk=risk_desk, balances=app.state.balances)


async def withdraw(client, name, amount):
    return await client.post(f"/accounts/{name}/withdrawals", params={"amount": amount})


async def test_a_single_withdrawal_is_paid_once(answer, evidence, http):
    """One withdrawal of 60 from a balance of 100 is paid and leaves 40."""
    evidence.given("a balance of 100 and one withdrawal of 60")
    desk = make_desk(answer)
    reply = await withdraw(http(desk.app), "ann", 60)
    evidence.got(f"{reply.status_code} {reply.text}, and a balance of {desk.balances['ann']}")
    assert reply.status_code == 200, "The withdrawal was not paid."
    assert desk.balances == {"ann": 40, "ben": 100}, "The balance is not what it should be."


async def test_too_much_is_refused(answer, evidence, http):
    """A withdrawal of 120 from a balance of 100 is answered with 409 and changes nothing."""
    evidence.given("a balance of 100 and one withdrawal of 120")
    desk = make_desk(answer)
    reply = await withdraw(http(desk.app), "ann", 120)
    evidence.got(f"{reply.status_code} {reply.text}, and a balance of {desk.balances['ann']}")
    assert reply.status_code == 409, "The status is not 409."
    assert desk.balances == START, "The balance has changed."


async def test_the_risk_desk_decides(answer, evidence, http):
    """The risk desk is asked for every withdrawal, and its no is answered with 403 and changes nothing."""
    evidence.given("a balance of 100, one withdrawal of 60, and a risk desk that says no")
    desk = make_desk(answer, says=False)
    reply = await withdraw(http(desk.app), "ann", 60)
    asked = "was asked" if desk.risk_desk.asked == [("ann", 60)] else "was not asked about this withdrawal"
    evidence.got(f"{reply.status_code}, a balance of {desk.balances['ann']}; the risk desk {asked}")
    assert desk.risk_desk.asked == [("ann", 60)], "The risk desk was not asked once about this withdrawal."
    assert reply.status_code == 403, "The status is not 403."
    assert desk.balances == START, "The balance has changed."


def test_no_interleaving_loses_money(answer, evidence):
    """No interleaving of two withdrawals of 60 from a balance of 100 pays both."""
    evidence.given("a balance of 100 and two withdrawals of 60 at once")

    def money_is_kept(app, replies):
        paid = 60 * sum(reply.status_code == 200 for reply in replies.values())
        left = app.state.balances["ann"]
        assert left >= 0, f"the balance is {left}"
        assert paid + left == 100, f"{paid} was paid out of 100, and {left} is left"
        assert paid > 0, "both withdrawals were refused"

    one = post("/accounts/ann/withdrawals", params={"amount": 60})
    report = explore_sync(
        lambda: make_desk(answer).app,
        {"A": one, "B": one},
        invariant=money_is_kept,
        observe=lambda app: {"ann": app.state.balances["ann"]},
        max_schedules=3_000,
    )
    evidence.proves(report)


def test_two_accounts_do_not_wait_for_each_other(answer, evidence):
    """While one withdrawal waits for the risk desk, a withdrawal from another account can be paid."""
    evidence.given("withdrawals from two accounts, the first of them in the middle of its work")
    requests = {
        "A": post("/accounts/ann/withdrawals", params={"amount": 60}),
        "B": post("/accounts/ben/withdrawals", params={"amount": 60}),
    }
    evidence.overlaps(can_overlap(lambda: make_desk(answer).app, requests))
