"""SQL of watchlists. It never commits: the service owns the transaction."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.infra.database.base import table_of
from reference_app.patterns.keyset_page import Keyset
from reference_app.patterns.optimistic_version import OptimisticVersion
from reference_app.watchlists.models import Watchlist

LISTS = Keyset("watchlists", Watchlist.id)
VERSIONS = OptimisticVersion(table_of(Watchlist))


class WatchlistRepository:
    """Watchlists in one session; what is read is read for one user, and those of another are not there."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def watchlists(
        self, owner_id: uuid.UUID, after: tuple[Any, ...] | None, size: int
    ) -> Sequence[Watchlist]:
        """Return the lists of a page, and one more where more follow."""
        query = select(Watchlist).where(Watchlist.owner_id == owner_id)
        return (await self._session.scalars(LISTS.select(query, after=after, size=size))).all()

    async def watchlist(self, owner_id: uuid.UUID, watchlist_id: uuid.UUID) -> Watchlist | None:
        """Return the list with this id."""
        query = select(Watchlist).where(Watchlist.id == watchlist_id, Watchlist.owner_id == owner_id)
        # What an UPDATE of this session has changed is read again.
        return await self._session.scalar(query.execution_options(populate_existing=True))

    async def add(
        self, owner_id: uuid.UUID, watchlist_id: uuid.UUID, values: Mapping[str, Any]
    ) -> Watchlist | None:
        """Insert a list, or return None where the id is taken, by whomever."""
        row = {"id": watchlist_id, "owner_id": owner_id, "version": 1, **values}
        statement = insert(Watchlist).values(row).on_conflict_do_nothing(index_elements=["id"])
        return await self._session.scalar(statement.returning(Watchlist))

    async def change(self, watchlist_id: uuid.UUID, version: int, values: Mapping[str, Any]) -> None:
        """Change a list of a known version; VersionConflict where it is another by now."""
        # Not now(): that is when the transaction began, which may be before the change that it follows.
        changes = {**values, "updated_at": func.clock_timestamp()}
        await VERSIONS.update(self._session, key=watchlist_id, expected_version=version, values=changes)

    async def delete(self, watchlist_id: uuid.UUID, version: int) -> None:
        """Delete a list of a known version; VersionConflict where it is another by now."""
        await VERSIONS.delete(self._session, key=watchlist_id, expected_version=version)
