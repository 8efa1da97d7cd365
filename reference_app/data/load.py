"""Load the real daily prices that come with the package: `python -m reference_app.data.load`.

Running it again changes nothing. Source and licence of the prices: README.md beside this file.
"""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import gzip
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

from reference_app.candles.service import CandleRecord, CandleService
from reference_app.infra.database.engine import create_engine, create_sessions
from reference_app.infra.database.startup import StartupError, check_database
from reference_app.market.service import MarketService
from reference_app.settings import SettingsError, load_settings

PRICES = Path(__file__).parent / "stocks.csv.gz"

#: The companies as they were called in the years of the prices.
NAMES = {
    "AAPL": "Apple Inc.",
    "FB": "Facebook, Inc.",
    "GOOG": "Google Inc.",
    "IBM": "International Business Machines Corporation",
    "MSFT": "Microsoft Corporation",
}


def read_prices(path: Path = PRICES) -> Iterator[CandleRecord]:
    """Yield one record for each row of the file; prices go from text to Decimal and never through a float."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for symbol, date, *prices, volume, adjusted_close in list(csv.reader(file))[1:]:
            first, high, low, last = map(Decimal, prices)
            yield (
                symbol,
                dt.date.fromisoformat(date),
                first,
                high,
                low,
                last,
                int(volume),
                Decimal(adjusted_close),
            )


async def load_async(url: str) -> int:
    """Load the prices into a migrated database.

    Args:
        url: A PostgreSQL URL in any common spelling.

    Returns:
        How many candles were new or corrected.

    Raises:
        SettingsError: The URL is no PostgreSQL URL.
        StartupError: The database cannot be used, or is not migrated.
    """
    settings = load_settings(database_url=url)
    engine = create_engine(settings)
    try:
        await check_database(engine, settings)
        sessions = create_sessions(engine)
        return await CandleService(sessions, MarketService(sessions)).load(NAMES, read_prices())
    finally:
        await engine.dispose()


def load(url: str) -> int:
    """Do the same and wait for it, with or without a running loop (`infra/database/schema.py`)."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="load") as thread:
        return thread.submit(asyncio.run, load_async(url)).result()


def main() -> None:
    """Load the prices into the database that DATABASE_URL names."""
    try:
        changed = asyncio.run(load_async(load_settings().database_url.get_secret_value()))
    except (SettingsError, StartupError) as error:
        sys.exit(f"load: {error}")
    print(f"{changed} candles were new or corrected.")  # noqa: T201 - the answer of the command


if __name__ == "__main__":
    main()
