"""psycopg 3 at a gate: async, sync in worker threads, and both under SQLAlchemy."""

import psycopg
import pytest
from deskbook.races import PsycopgGate, SQLAlchemyGate, explore, post
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

READ = "select balance from psycopg_account where id = 1"
READ_AND_LOCK = f"{READ} for update"


@pytest.fixture(scope="session")
def dsn(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create table psycopg_account (id int primary key, balance int)")
    return postgres_url


def fill(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("truncate psycopg_account")
        connection.execute("insert into psycopg_account values (1, 100)")


def with_sync_connections(app, dsn, read):
    @app.post("/withdraw")
    def withdraw():
        with psycopg.connect(dsn) as connection:
            (balance,) = connection.execute(read).fetchone()
            if balance < 60:
                raise HTTPException(409)
            connection.execute("update psycopg_account set balance = %s where id = 1", (balance - 60,))


def with_async_connections(app, dsn, read):
    @app.post("/withdraw")
    async def withdraw():
        async with await psycopg.AsyncConnection.connect(dsn) as connection, connection.transaction():
            (balance,) = await (await connection.execute(read)).fetchone()
            if balance < 60:
                raise HTTPException(409)
            await connection.execute("update psycopg_account set balance = %s where id = 1", (balance - 60,))


def with_a_session_as_dependency(app, dsn, read):
    """The style of FastAPI's own tutorial: a sync session that a dependency yields."""
    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)

    def session():
        with Session(engine) as opened:
            yield opened

    @app.post("/withdraw")
    def withdraw(db: Session = Depends(session)):  # noqa: B008
        balance = db.execute(text(read)).scalar()
        if balance < 60:
            raise HTTPException(409)
        db.execute(text("update psycopg_account set balance = :b where id = 1"), {"b": balance - 60})
        db.commit()


def with_an_async_engine(app, dsn, read):
    engine = create_async_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)

    @app.post("/withdraw")
    async def withdraw():
        async with engine.begin() as connection:
            balance = (await connection.execute(text(read))).scalar()
            if balance < 60:
                raise HTTPException(409)
            update = text("update psycopg_account set balance = :b where id = 1")
            await connection.execute(update, {"b": balance - 60})


STYLES = [with_sync_connections, with_async_connections, with_a_session_as_dependency, with_an_async_engine]


async def explore_style(dsn, style, read, gate):
    def make():
        fill(dsn)
        app = FastAPI()
        style(app, dsn, read)
        return app

    def one_wins(app, responses):
        codes = sorted(response.status_code for response in responses.values())
        assert codes == [200, 409], codes

    requests = {"A": post("/withdraw"), "B": post("/withdraw")}
    return await explore(make, requests, invariant=one_wins, gate=gate, preemption_bound=2, max_seconds=60)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
async def test_a_lost_update_is_found(dsn, style):
    report = await explore_style(dsn, style, READ, PsycopgGate(dsn))
    assert report.verdict == "counterexample", report
    assert report.counterexample.failure.kind == "invariant", report


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
async def test_a_row_lock_is_right(dsn, style):
    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    report = await explore_style(dsn, style, READ_AND_LOCK, SQLAlchemyGate(engine))
    assert report.verdict in {"exhausted", "bounded"}, report


async def test_a_sync_connection_on_the_event_loop_is_refused(dsn):
    async def blocks():
        with psycopg.connect(dsn) as connection:
            connection.execute(READ)

    report = await explore(lambda: None, {"A": blocks, "B": blocks}, gate=PsycopgGate(dsn))
    assert report.verdict == "inconclusive", report
    assert "used a sync connection on the event loop" in report.text()


async def test_two_rows_locked_in_opposite_order_are_a_deadlock_in_threads_too(dsn):
    def make():
        fill(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("insert into psycopg_account values (2, 100)")
        app = FastAPI()

        @app.post("/move/{first}/{second}")
        def move(first: int, second: int):
            with psycopg.connect(dsn) as connection:
                for row in (first, second):
                    connection.execute("update psycopg_account set balance = 0 where id = %s", (row,))

        return app

    requests = {"A": post("/move/1/2"), "B": post("/move/2/1")}
    report = await explore(make, requests, gate=PsycopgGate(dsn), max_seconds=60)
    assert report.verdict == "counterexample", report
    assert "A waits for B at «update psycopg_account" in report.counterexample.failure.message
