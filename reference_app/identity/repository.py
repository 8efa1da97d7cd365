"""SQL of users. It never commits: the service owns the transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.identity.models import User


class UserRepository:
    """Users in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, name: str, password_hash: str, scopes: Sequence[str]) -> User | None:
        """Insert a user, or return None where the name is taken.

        One statement asks and writes. A SELECT before the INSERT would let two registrations of one name
        both see it free, and the loser's unique violation would come out as a fault of the service.
        """
        values = {"id": uuid.uuid4(), "name": name, "password_hash": password_hash, "scopes": list(scopes)}
        statement = (
            insert(User).values(values).on_conflict_do_nothing(index_elements=["name"]).returning(User)
        )
        return await self._session.scalar(statement)

    async def by_name(self, name: str) -> User | None:
        """Return the user with this name."""
        return await self._session.scalar(select(User).where(User.name == name))

    async def locked(self, name: str) -> User | None:
        """Return the user with this name, locked until the transaction ends.

        Without the lock, of two commands that change the scopes at once, one would undo the other.
        """
        return await self._session.scalar(select(User).where(User.name == name).with_for_update())

    async def by_id(self, user_id: uuid.UUID) -> User | None:
        """Return the user with this id."""
        return await self._session.get(User, user_id)

    async def set_password_hash(self, user_id: uuid.UUID, old: str, new: str) -> None:
        """Replace a hash, unless it was changed meanwhile: a new password must win over an old one."""
        statement = (
            update(User).where(User.id == user_id, User.password_hash == old).values(password_hash=new)
        )
        await self._session.execute(statement)

    async def set_scopes(self, name: str, scopes: Sequence[str]) -> None:
        """Replace what the tokens of a user may carry."""
        await self._session.execute(update(User).where(User.name == name).values(scopes=list(scopes)))
