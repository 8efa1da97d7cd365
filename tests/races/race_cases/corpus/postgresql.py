"""Cases on real PostgreSQL through asyncpg: the subject is a pool."""

import asyncpg

from race_cases.corpus.cases import RIGHT, WRONG, Case

CASES = []

TABLES = """
create table account (id int primary key, balance int not null, version int not null default 0);
create table person (name text not null);
create table unique_person (name text primary key);
create table job (id int primary key, owner text);
create table duty (doctor text primary key, on_call bool not null);
"""


async def reset_postgres(pool):
    await pool.execute(
        "truncate account, person, unique_person, job, duty;"
        "insert into account values (1, 100), (2, 100);"
        "insert into job values (1), (2);"
        "insert into duty values ('ada', true), ('grace', true);"
    )


async def money_is_kept(pool, results):
    paid = sum(result is True for result in results.values())
    balance = await pool.fetchval("select balance from account where id = 1")
    assert balance == 100 - 60 * paid, f"{paid} of 60 paid out of 100, but the balance is {balance}"


async def sum_is_kept(pool, results):
    assert await pool.fetchval("select sum(balance) from account") == 200


async def one_person(pool, results):
    assert (
        await pool.fetchval(
            "select count(*) from (select * from person union all select * from unique_person) p"
        )
        == 1
    )


async def somebody_is_on_call(pool, results):
    assert await pool.fetchval("select count(*) from duty where on_call") >= 1


async def no_job_twice(pool, results):
    taken = [result for result in results.values() if result is not None]
    assert len(taken) == len(set(taken)), f"jobs taken: {taken}"


def postgres(truth, reason, check=money_is_kept, requests=None):
    def register(function):
        both = requests or {"A": function, "B": function}
        CASES.append(Case(function.__name__, truth, reason, None, both, check))
        return function

    return register


@postgres(WRONG, "READ COMMITTED lets both read 100")
async def select_then_update(pool):
    async with pool.acquire() as c, c.transaction():
        balance = await c.fetchval("select balance from account where id = 1")
        if balance < 60:
            return False
        await c.execute("update account set balance = $1 where id = 1", balance - 60)
        return True


@postgres(RIGHT, "the row is locked before it is read")
async def select_for_update(pool):
    async with pool.acquire() as c, c.transaction():
        balance = await c.fetchval("select balance from account where id = 1 for update")
        if balance < 60:
            return False
        await c.execute("update account set balance = $1 where id = 1", balance - 60)
        return True


@postgres(WRONG, "the lock comes after the read that it should protect")
async def lock_after_the_read(pool):
    async with pool.acquire() as c, c.transaction():
        balance = await c.fetchval("select balance from account where id = 1")
        if balance < 60:
            return False
        await c.execute("select 1 from account where id = 1 for update")
        await c.execute("update account set balance = $1 where id = 1", balance - 60)
        return True


@postgres(RIGHT, "check and change are one statement")
async def update_with_a_condition(pool):
    done = await pool.execute("update account set balance = balance - 60 where id = 1 and balance >= 60")
    return done == "UPDATE 1"


@postgres(RIGHT, "the version in the WHERE refuses a stale write")
async def version_column(pool):
    row = await pool.fetchrow("select balance, version from account where id = 1")
    if row["balance"] < 60:
        return False
    done = await pool.execute(
        "update account set balance = $1, version = version + 1 where id = 1 and version = $2",
        row["balance"] - 60,
        row["version"],
    )
    return done == "UPDATE 1"


@postgres(WRONG, "the version is counted up, but nobody looks at it")
async def version_column_ignored(pool):
    row = await pool.fetchrow("select balance, version from account where id = 1")
    if row["balance"] < 60:
        return False
    await pool.execute(
        "update account set balance = $1, version = $2 where id = 1", row["balance"] - 60, row["version"] + 1
    )
    return True


async def _serializable(pool, work):
    while True:
        try:
            async with pool.acquire() as c, c.transaction(isolation="serializable"):
                return await work(c)
        except asyncpg.SerializationError:
            continue


@postgres(RIGHT, "SERIALIZABLE refuses the second one, which then starts over")
async def serializable_with_retry(pool):
    async def work(c):
        balance = await c.fetchval("select balance from account where id = 1")
        if balance < 60:
            return False
        await c.execute("update account set balance = $1 where id = 1", balance - 60)
        return True

    return await _serializable(pool, work)


@postgres(WRONG, "REPEATABLE READ refuses the second one, and nobody starts over", check=None)
async def error_40001_not_handled(pool):
    async with pool.acquire() as c, c.transaction(isolation="repeatable_read"):
        balance = await c.fetchval("select balance from account where id = 1")
        await c.execute("update account set balance = $1 where id = 1", balance - 60)
        return True


@postgres(WRONG, "both see that the name is free", check=one_person)
async def insert_after_looking(pool):
    async with pool.acquire() as c, c.transaction():
        if not await c.fetchval("select count(*) from person where name = 'ada'"):
            await c.execute("insert into person values ('ada')")


@postgres(RIGHT, "the primary key decides", check=one_person)
async def insert_on_conflict(pool):
    await pool.execute("insert into unique_person values ('ada') on conflict do nothing")


def _leave_duty(name, isolation):
    async def leave(pool):
        async def work(c):
            if await c.fetchval("select count(*) from duty where on_call") > 1:
                await c.execute("update duty set on_call = false where doctor = $1", name)

        if isolation == "serializable":
            await _serializable(pool, work)
        else:
            async with pool.acquire() as c, c.transaction(isolation=isolation):
                await work(c)

    return leave


@postgres(
    WRONG,
    "write skew: each sees the other one on call and changes another row",
    somebody_is_on_call,
    {"A": _leave_duty("ada", "repeatable_read"), "B": _leave_duty("grace", "repeatable_read")},
)
async def write_skew(pool):
    raise AssertionError("this function only gives the case its name")


@postgres(
    RIGHT,
    "SERIALIZABLE sees the write skew",
    somebody_is_on_call,
    {"A": _leave_duty("ada", "serializable"), "B": _leave_duty("grace", "serializable")},
)
async def write_skew_refused(pool):
    raise AssertionError("this function only gives the case its name")


def _transfer(first, second, ordered):
    async def transfer(pool):
        changes = [(first, -10), (second, 10)]
        async with pool.acquire() as c, c.transaction():
            for number, amount in sorted(changes) if ordered else changes:
                await c.execute("update account set balance = balance + $2 where id = $1", number, amount)

    return transfer


@postgres(
    WRONG, "deadlock by row order", sum_is_kept, {"A": _transfer(1, 2, False), "B": _transfer(2, 1, False)}
)
async def rows_in_opposite_order(pool):
    raise AssertionError("this function only gives the case its name")


@postgres(
    RIGHT,
    "rows are changed in one order",
    sum_is_kept,
    {"A": _transfer(1, 2, True), "B": _transfer(2, 1, True)},
)
async def rows_in_one_order(pool):
    raise AssertionError("this function only gives the case its name")


@postgres(WRONG, "both claim the first free job", check=no_job_twice)
async def claim_after_looking(pool):
    number = await pool.fetchval("select id from job where owner is null order by id limit 1")
    if number is not None:
        await pool.execute("update job set owner = 'me' where id = $1", number)
    return number


@postgres(RIGHT, "SKIP LOCKED gives each a job of its own", check=no_job_twice)
async def claim_with_skip_locked(pool):
    async with pool.acquire() as c, c.transaction():
        number = await c.fetchval(
            "select id from job where owner is null order by id limit 1 for update skip locked"
        )
        if number is not None:
            await c.execute("update job set owner = 'me' where id = $1", number)
        return number
