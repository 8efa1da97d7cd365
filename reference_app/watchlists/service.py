"""What can be done with watchlists. Each method is one unit of work, for one user."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from reference_app.infra.database.engine import Sessions
from reference_app.infra.process.resources import Resources
from reference_app.market.problems import InstrumentNotFound
from reference_app.market.service import MarketService
from reference_app.patterns.keyset_page import Page
from reference_app.watchlists.models import Watchlist
from reference_app.watchlists.problems import UnknownInstrument, WatchlistNotFound
from reference_app.watchlists.repository import LISTS, WatchlistRepository

#: Raises where the client's preconditions forbid the change; None stands for a list that is not there.
Check = Callable[[Watchlist | None], None]


class WatchlistService:
    """Keeps the lists of users; another user's list is not there.

    Args:
        sessions: The session factory of the process.
        market: Knows the instruments.
    """

    def __init__(self, sessions: Sessions, market: MarketService) -> None:
        self._sessions, self._market = sessions, market

    async def watchlists(self, owner_id: uuid.UUID, cursor: str | None, size: int) -> Page[Watchlist]:
        """Return a page of the user's lists.

        Raises:
            InvalidCursor: The cursor was not given out with a page.
        """
        after = LISTS.decode(cursor)
        async with self._sessions() as session:
            rows = await WatchlistRepository(session).watchlists(owner_id, after, size)
        return LISTS.page(rows, size=size)

    async def watchlist(self, owner_id: uuid.UUID, watchlist_id: uuid.UUID) -> Watchlist:
        """Return one list.

        Raises:
            WatchlistNotFound: The user has no such list.
        """
        async with self._sessions() as session:
            found = await WatchlistRepository(session).watchlist(owner_id, watchlist_id)
        if found is None:
            raise WatchlistNotFound
        return found

    async def put(
        self, owner_id: uuid.UUID, watchlist_id: uuid.UUID, values: Mapping[str, Any], check: Check
    ) -> tuple[Watchlist, bool]:
        """Create the list or replace it as a whole, and return it and whether it is new.

        Raises:
            UnknownInstrument: There is no instrument with one of the symbols.
            WatchlistNotFound: The id is somebody else's.
            VersionConflict: It was changed at this moment.
            HTTPException: What `check` raises.
        """
        await self._know(values["symbols"])
        async with self._sessions.begin() as session:
            repository = WatchlistRepository(session)
            found = await repository.watchlist(owner_id, watchlist_id)
            check(found)
            if found is None and (added := await repository.add(owner_id, watchlist_id, values)) is not None:
                return added, True
            if found is None:
                # Taken: by somebody else, or by this user a moment ago, whose list the client has not seen.
                check(await repository.watchlist(owner_id, watchlist_id))
                raise WatchlistNotFound
            await repository.change(watchlist_id, found.version, values)
            changed = await repository.watchlist(owner_id, watchlist_id)
        assert changed is not None
        return changed, False

    async def patch(
        self, owner_id: uuid.UUID, watchlist_id: uuid.UUID, changes: Mapping[str, Any], check: Check
    ) -> Watchlist:
        """Change what is named and leave the rest; parameters and errors as for `put`."""
        await self._know(changes.get("symbols", ()))
        async with self._sessions.begin() as session:
            repository = WatchlistRepository(session)
            found = await _seen(repository, owner_id, watchlist_id, check)
            await repository.change(watchlist_id, found.version, changes)
            changed = await repository.watchlist(owner_id, watchlist_id)
        assert changed is not None
        return changed

    async def delete(self, owner_id: uuid.UUID, watchlist_id: uuid.UUID, check: Check) -> None:
        """Delete a list; parameters and errors as for `patch`."""
        async with self._sessions.begin() as session:
            repository = WatchlistRepository(session)
            found = await _seen(repository, owner_id, watchlist_id, check)
            await repository.delete(watchlist_id, found.version)

    async def _know(self, symbols: Sequence[str]) -> None:
        for symbol in symbols:
            try:
                await self._market.instrument(symbol)
            except InstrumentNotFound:
                raise UnknownInstrument("List the instruments with GET /v1/instruments.") from None


@asynccontextmanager
async def open_service(resources: Resources) -> AsyncIterator[WatchlistService]:
    """Give the service to a process."""
    yield WatchlistService(resources["sessions"], resources["services"][MarketService])


async def _seen(
    repository: WatchlistRepository, owner_id: uuid.UUID, watchlist_id: uuid.UUID, check: Check
) -> Watchlist:
    """Return the user's list if it is there, in the version that the client has seen."""
    found = await repository.watchlist(owner_id, watchlist_id)
    if found is None:
        raise WatchlistNotFound
    check(found)
    return found
