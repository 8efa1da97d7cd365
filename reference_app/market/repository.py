"""SQL of instruments. It never commits: the service owns the transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.market.models import Instrument
from reference_app.patterns.keyset_page import Keyset

INSTRUMENTS = Keyset("instruments", Instrument.symbol)


class MarketRepository:
    """Instruments in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def instruments(self, after: tuple[Any, ...] | None, size: int) -> Sequence[Instrument]:
        """Return instruments in the order of `INSTRUMENTS`."""
        query = INSTRUMENTS.select(select(Instrument), after=after, size=size)
        return (await self._session.scalars(query)).all()

    async def instruments_of(self, instrument_ids: Collection[int]) -> Sequence[Instrument]:
        """Return the instruments with these ids."""
        query = select(Instrument).where(Instrument.id.in_(instrument_ids))
        return (await self._session.scalars(query)).all()

    async def instrument(self, symbol: str) -> Instrument | None:
        """Return the instrument with this symbol."""
        return await self._session.scalar(select(Instrument).where(Instrument.symbol == symbol))

    async def symbols(self) -> frozenset[str]:
        """Return the symbols of all instruments."""
        return frozenset((await self._session.scalars(select(Instrument.symbol))).all())

    async def save_instruments(self, names: Mapping[str, str]) -> None:
        """Insert instruments, or give those that exist their new name."""
        statement = insert(Instrument).values([{"symbol": key, "name": name} for key, name in names.items()])
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=["symbol"], set_={"name": statement.excluded.name})
        )
