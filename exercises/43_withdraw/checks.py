import asyncio

from deskbook.practice.for_checks import until_done_or_blocked
from deskbook.races import SQLAlchemyGate, explore
from sqlalchemy import text

#: Ann and Ben have 100 each.
ROWS = "INSERT INTO accounts VALUES ('ann', 100), ('ben', 100);"
TABLES = f"CREATE TABLE accounts (name text PRIMARY KEY, balance int NOT NULL); {ROWS}"


async def balance_of(desk, name="ann"):
    return await desk.own.fetchval("SELECT balance FROM accounts WHERE name = $1", name)


async def another_program(desk):
    """Withdraw 60 as it is done elsewhere."""
    taken = "UPDATE accounts SET balance = balance - 60 WHERE name = 'ann' AND balance >= 60"
    async with desk.engine.begin() as connection:
        return (await connection.execute(text(taken))).rowcount == 1


async def find_a_race(desk, requests):
    async def fresh_desk():
        await desk.own.execute(f"DELETE FROM accounts; {ROWS}")
        return desk

    async def money_is_kept(desk, paid):
        assert all(isinstance(it, bool) for it in paid.values()), f"a withdrawal ended with {paid}"
        total, left = 60 * sum(paid.values()), await balance_of(desk)
        assert left >= 0, f"the balance is {left}"
        assert total + left == 100, f"{total} was paid out of 100, and {left} is left"
        assert total, "both were refused"

    return await explore(
        fresh_desk,
        requests,
        invariant=money_is_kept,
        gate=SQLAlchemyGate(desk.engine),
        max_schedules=1_000,
        max_seconds=60,
    )


async def test_a_single_withdrawal_is_paid_once(answer, evidence, desk):
    """One withdrawal of 60 from a balance of 100 is paid and leaves 40."""
    evidence.given("a balance of 100 and one withdrawal of 60")
    paid = await answer.withdraw(desk.sessions, "ann", 60)
    left = await balance_of(desk), await balance_of(desk, "ben")
    evidence.got(f"{paid}, and balances of {left[0]} for Ann and {left[1]} for Ben")
    assert paid is True, "The withdrawal was not paid."
    assert left == (40, 100), "The balances are not what they should be."


async def test_too_much_is_refused(answer, evidence, desk):
    """A withdrawal of 120 from a balance of 100 returns False and changes nothing."""
    evidence.given("a balance of 100 and one withdrawal of 120")
    paid = await answer.withdraw(desk.sessions, "ann", 120)
    left = await balance_of(desk)
    evidence.got(f"{paid}, and a balance of {left}")
    assert paid is False, "The answer is not False."
    assert left == 100, "The balance has changed."


async def test_no_order_pays_both(answer, evidence, desk):
    """No order of the statements pays two withdrawals of 60 from a balance of 100."""
    evidence.given("a balance of 100 and two withdrawals of 60 at once")

    async def withdraw(desk):
        return await answer.withdraw(desk.sessions, "ann", 60)

    evidence.proves(await find_a_race(desk, {"A": withdraw, "B": withdraw}))


async def test_other_programs_write_too(answer, evidence, desk):
    """No order pays both when another program withdraws from the same account."""
    evidence.given("a balance of 100, your withdrawal of 60, and one of 60 by another program")

    async def withdraw(desk):
        return await answer.withdraw(desk.sessions, "ann", 60)

    evidence.proves(await find_a_race(desk, {"A": withdraw, "B": another_program}))


async def test_another_account_does_not_wait(answer, evidence, desk):
    """While Ann's row is locked by somebody, Ben is paid."""
    evidence.given("somebody who holds the lock of Ann's row, Ann's withdrawal, and then Ben's")
    async with desk.engine.begin() as holder:
        await holder.execute(text("UPDATE accounts SET balance = balance WHERE name = 'ann'"))
        ann = asyncio.create_task(answer.withdraw(desk.sessions, "ann", 60))
        await until_done_or_blocked(desk.own, ann)
        ben = asyncio.create_task(answer.withdraw(desk.sessions, "ben", 60))
        await until_done_or_blocked(desk.own, ben, sessions=2)
        is_done = ben.done()
        evidence.got("Ben is paid" if is_done and ben.result() else "Ben waits")
        await holder.rollback()
        await asyncio.gather(ann, ben)
        assert is_done, "Ben had to wait for Ann's lock."
