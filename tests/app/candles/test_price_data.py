"""The real prices: unchanged, complete, and loaded once however often the loader runs."""

from __future__ import annotations

import hashlib
from decimal import Decimal

from deskbook.desk import RunningApp
from deskbook.services import fresh_database

from reference_app.candles.service import CandleService
from reference_app.data.load import NAMES, PRICES, load, load_async, read_prices
from reference_app.infra.database.schema import upgrade
from reference_app.market.service import MarketService

SHA256 = "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd"


def test_the_file_is_the_one_its_note_describes() -> None:
    assert hashlib.sha256(PRICES.read_bytes()).hexdigest() == SHA256
    note = (PRICES.parent / "README.md").read_text(encoding="utf-8")
    assert SHA256 in note
    assert "public domain" in note


async def test_all_rows_are_in_the_database_digit_by_digit(desk: RunningApp) -> None:
    rows = await desk.sql(
        "SELECT symbol, date, open, high, low, close, volume, adjusted_close "
        "FROM candles JOIN instruments i ON i.id = instrument_id ORDER BY symbol, date"
    )
    records = sorted(read_prices())
    assert len(records) == 12_154
    assert [tuple(row.values()) for row in rows] == records
    assert {record[0] for record in records} == set(NAMES)


async def test_loading_again_changes_nothing(own_desk: RunningApp) -> None:
    state = "SELECT md5(string_agg(c::text || c.xmin, '' ORDER BY instrument_id, date)) FROM candles c"
    before = await own_desk.sql(state)
    assert await load_async(own_desk.database_url) == 0
    assert await own_desk.sql(state) == before


async def test_a_correction_changes_that_row_alone(own_desk: RunningApp) -> None:
    record = next(read_prices())
    corrected = (*record[:5], Decimal("130.32"), *record[6:])
    sessions = own_desk.state["sessions"]
    service = CandleService(sessions, MarketService(sessions))
    assert await service.load(NAMES, [corrected]) == 1  # type: ignore[list-item]
    rows = await own_desk.sql("SELECT close::text FROM candles WHERE close = 130.32 AND date = '2000-03-01'")
    assert rows == [{"close": "130.32"}]


async def test_a_wrong_row_leaves_all_as_it_was(own_desk: RunningApp) -> None:
    record = next(read_prices())
    upside_down = (*record[:3], record[4], record[3], *record[5:])  # the high below the low
    sessions = own_desk.state["sessions"]
    service = CandleService(sessions, MarketService(sessions))
    before = await own_desk.sql("SELECT count(*) FROM instruments")
    try:
        await service.load({**NAMES, "NEW": "New Inc."}, [upside_down])  # type: ignore[list-item]
    except Exception as error:
        assert "candles_range_check" in str(error)  # noqa: PT017 - the class is SQLAlchemy's
    else:
        raise AssertionError("the row was accepted")
    assert await own_desk.sql("SELECT count(*) FROM instruments") == before


def test_the_loader_works_where_no_loop_is_running() -> None:
    with fresh_database() as url:
        upgrade(url)
        assert load(url) == 12_154
