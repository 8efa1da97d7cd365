"""Statements on real PostgreSQL and commands on real Redis as steps."""

import asyncio
from typing import Annotated

import asyncpg
import pytest
import redis.asyncio as redis_client
from deskbook.races import AsyncpgGate, RedisGate, SQLAlchemyGate, explore, post
from fastapi import Depends, FastAPI, HTTPException
from race_cases.corpus import postgresql, redis_commands
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

#: Hundreds of schedules each: right, but not quick.
LONG = {"write_skew_refused", "serializable_with_retry"}


def cases(found, truth):
    return [
        pytest.param(case, id=case.name, marks=[pytest.mark.prove] if case.name in LONG else [])
        for case in found
        if case.truth == truth
    ]


@pytest.fixture(scope="session")
async def pool(postgres_url):
    async with asyncpg.create_pool(postgres_url, min_size=4, max_size=4) as pool:
        await pool.execute(postgresql.TABLES)
        yield pool


@pytest.fixture(scope="session")
async def redis(redis_url):
    client = redis_client.from_url(redis_url)
    yield client
    await client.aclose()


async def explore_postgres(pool, url, case, **options):
    return await explore(
        lambda: pool,
        case.requests,
        invariant=case.check,
        reset=postgresql.reset_postgres,
        gate=AsyncpgGate(url),
        max_seconds=30,
        **options,
    )


@pytest.mark.parametrize("case", cases(postgresql.CASES, "wrong"))
async def test_wrong_fix_on_postgresql_is_rejected(pool, postgres_url, case):
    report = await explore_postgres(pool, postgres_url, case)
    assert report.verdict == "counterexample", f"{case.reason}\n{report}"


@pytest.mark.parametrize("case", cases(postgresql.CASES, "right"))
async def test_right_fix_on_postgresql_is_proven(pool, postgres_url, case):
    report = await explore_postgres(pool, postgres_url, case)
    assert report.verdict == "exhausted", f"{case.reason}\n{report}"


@pytest.mark.parametrize("case", cases(redis_commands.CASES, "wrong"))
async def test_wrong_fix_on_redis_is_rejected(redis, case):
    report = await explore(
        lambda: redis, case.requests, invariant=case.check, reset=redis_commands.reset_redis, gate=RedisGate()
    )
    assert report.verdict == "counterexample", f"{case.reason}\n{report}"


@pytest.mark.parametrize("case", cases(redis_commands.CASES, "right"))
async def test_right_fix_on_redis_is_proven(redis, case):
    report = await explore(
        lambda: redis,
        case.requests,
        invariant=case.check,
        reset=redis_commands.reset_redis,
        gate=RedisGate(),
        max_seconds=30,
    )
    assert report.verdict == "exhausted", f"{case.reason}\n{report}"


async def test_a_deadlock_is_reported_with_its_cycle_and_not_with_a_victim(pool, postgres_url):
    case = next(case for case in postgresql.CASES if case.name == "rows_in_opposite_order")
    report = await explore_postgres(pool, postgres_url, case)
    failure = report.counterexample.failure
    assert failure.kind == "deadlock"
    assert "A waits for B at «update account" in failure.message
    assert "B waits for A at «update account" in failure.message


async def test_the_same_search_on_postgresql_gives_the_same_report(pool, postgres_url):
    case = next(case for case in postgresql.CASES if case.name == "select_for_update")
    reports = {(await explore_postgres(pool, postgres_url, case)).text() for _ in range(3)}
    assert len(reports) == 1


@pytest.mark.prove
async def test_an_order_that_the_server_chose_is_not_called_exhausted(pool, postgres_url):
    """Of two that wait for one row, PostgreSQL may let either go on: that choice is not the explorer's."""
    case = next(case for case in postgresql.CASES if case.name == "select_for_update")
    three = dict.fromkeys("ABC", case.requests["A"])
    report = await explore(
        lambda: pool,
        three,
        invariant=case.check,
        reset=postgresql.reset_postgres,
        gate=AsyncpgGate(postgres_url),
        preemption_bound=1,
        max_seconds=30,
    )
    assert report.verdict == "bounded", report
    assert "the server chose" in report.covers


class Base(DeclarativeBase):
    pass


class Purse(Base):
    __tablename__ = "purse"
    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int]


@pytest.fixture(scope="session")
async def engine(postgres_url):
    engine = create_async_engine(postgres_url.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield engine
    await engine.dispose()


def purse_app(engine, fix):
    app = FastAPI()
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def session():
        async with sessions() as opened:
            yield opened

    @app.post("/withdraw")
    async def withdraw(amount: int, session: Annotated[AsyncSession, Depends(session)]):
        if fix == "atomic":
            statement = update(Purse).where(Purse.id == 1, Purse.balance >= amount)
            done = await session.execute(statement.values(balance=Purse.balance - amount))
            await session.commit()
            if done.rowcount != 1:
                raise HTTPException(409)
            return {}
        if fix == "stale identity map":
            seen = await session.get(Purse, 1)  # kept: the identity map holds objects weakly
        query = select(Purse).where(Purse.id == 1)
        purse = (await session.execute(query if fix == "none" else query.with_for_update())).scalar_one()
        if purse.balance < amount:
            raise HTTPException(409)
        assert fix != "stale identity map" or seen is purse
        purse.balance -= amount
        await session.commit()
        return {"balance": purse.balance}

    return app


async def explore_purse(engine, fix):
    async def balance(app):
        async with engine.connect() as connection:
            return {"balance": (await connection.execute(select(Purse.balance))).scalar_one()}

    async def reset(app):
        async with engine.begin() as connection:
            await connection.execute(text("delete from purse"))
            await connection.execute(text("insert into purse values (1, 100)"))

    async def check(app, responses):
        paid = sum(response.status_code == 200 for response in responses.values())
        left = (await balance(app))["balance"]
        assert left == 100 - 60 * paid, f"{paid} of 60 paid out of 100, but the balance is {left}"

    both = dict.fromkeys("AB", post("/withdraw", params={"amount": 60}))
    return await explore(
        lambda: purse_app(engine, fix),
        both,
        invariant=check,
        observe=balance,
        reset=reset,
        gate=SQLAlchemyGate(engine),
        max_seconds=30,
    )


@pytest.mark.parametrize("fix", ["none", "stale identity map"])
async def test_lost_update_through_sqlalchemy_is_found(engine, fix):
    report = await explore_purse(engine, fix)
    assert report.verdict == "counterexample", report
    text_of_run = report.text()
    assert "UPDATE purse SET balance" in text_of_run
    assert "balance is now 40" in text_of_run


@pytest.mark.parametrize("fix", ["atomic", "for update"])
async def test_right_fix_through_sqlalchemy_is_proven(engine, fix):
    report = await explore_purse(engine, fix)
    assert report.verdict == "exhausted", report


def test_another_driver_is_refused():
    class Engine:
        class dialect:
            name = "mysql"
            driver = "other"

    with pytest.raises(ValueError, match=r"this engine is mysql\+other"):
        SQLAlchemyGate(Engine)


async def test_io_without_a_gate_is_reported_loudly(redis):
    """RedisGate watches Redis only: a request that also reads a socket of its own is not under control."""

    async def serve(reader, writer):
        await reader.readline()
        writer.write(b"answer\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def ask(client):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"question\n")
        await reader.readline()
        writer.close()
        return await client.get("balance")

    async with server:
        report = await explore(
            lambda: redis,
            {"A": ask, "B": ask},
            reset=redis_commands.reset_redis,
            gate=RedisGate(),
            max_seconds=5,
        )
    assert report.verdict == "inconclusive"
    assert "NOT UNDER CONTROL" in report.text() or "DIVERGED" in report.text()


async def test_the_client_libraries_are_given_back_unchanged(redis, pool, postgres_url):
    from asyncpg import connect_utils
    from asyncpg.protocol import protocol
    from redis.asyncio.connection import AbstractConnection

    def all_of_them():
        classes = (protocol.Protocol, asyncpg.Connection, AbstractConnection)
        return (*(dict(each.__dict__) for each in classes), dict(vars(connect_utils)))

    before = all_of_them()
    case = redis_commands.CASES[0]
    await explore(
        lambda: redis, case.requests, invariant=case.check, reset=redis_commands.reset_redis, gate=RedisGate()
    )
    await explore_postgres(pool, postgres_url, postgresql.CASES[0])
    assert all_of_them() == before
