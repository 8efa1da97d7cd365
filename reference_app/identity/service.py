"""What identity does: users come, sign in, and are given tokens. Each method is one unit of work."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, closing

from sqlalchemy.ext.asyncio import AsyncSession

from reference_app.identity.guesses import Guesses
from reference_app.identity.models import NAME_PATTERN, User
from reference_app.identity.passwords import Passwords
from reference_app.identity.problems import InvalidGrant, InvalidScope, NameTaken, NotAuthenticated
from reference_app.identity.repository import UserRepository
from reference_app.identity.tokens import Tokens
from reference_app.infra.database.engine import Sessions
from reference_app.infra.database.once import Once, run_once
from reference_app.infra.process.resources import Resources
from reference_app.nouns import SCOPES
from reference_app.patterns.idempotency_key import Reply
from reference_app.settings import token_secret


class IdentityService:
    """Registers users and signs them in.

    Args:
        sessions: The session factory of the process.
        passwords: Hashes and checks.
        tokens: Issues what a signed-in user sends.
        guesses: Counts the passwords that are tried for a name; None where there is no Redis to count in.

    Attributes:
        tokens: Verifies what a request brings.
    """

    def __init__(
        self, sessions: Sessions, passwords: Passwords, tokens: Tokens, guesses: Guesses | None = None
    ) -> None:
        self._sessions, self._passwords, self.tokens = sessions, passwords, tokens
        self._guesses = guesses

    async def register(self, name: str, password: str) -> User:
        """Add a user with every scope that users have.

        Raises:
            NameTaken: There is one with this name.
            Overloaded: Too many passwords are being hashed.
        """
        add = await self._addition(name, password)
        async with self._sessions.begin() as session:
            return await add(session)

    async def register_once(self, name: str, password: str, once: Once[User]) -> Reply:
        """Add a user as `register` does: once, however often it is asked for with the same key.

        Raises:
            IdempotencyError: The key is in use at this moment, or belongs to another request.
            NameTaken: There is one with this name.
            Overloaded: Too many passwords are being hashed.
        """
        add = await self._addition(name, password)
        # Nobody has signed in yet: the key belongs to the name, which no other user can have.
        return await run_once(self._sessions, f"name:{name}", once, add)

    async def _addition(self, name: str, password: str) -> Callable[[AsyncSession], Awaitable[User]]:
        password_hash = await self._passwords.hash(password)  # before the transaction: it takes long

        async def add(session: AsyncSession) -> User:
            user = await UserRepository(session).add(name, password_hash, sorted(SCOPES))
            if user is None:
                raise NameTaken("Choose another name.")
            return user

        return add

    async def sign_in(
        self, name: str, password: str, scopes: Iterable[str] = (), *, address: str = ""
    ) -> tuple[str, set[str]]:
        """Return an access token and its scopes, for the right password.

        Args:
            name: The name under which the user has registered.
            password: The password as it was typed.
            scopes: What the token shall carry; without any, it carries all that the user may.
            address: Where the password comes from.

        Raises:
            TooManyGuesses: Too many passwords were tried for this name; this one was not looked at.
            InvalidGrant: There is no such user, or the password is another. It does not say which.
            InvalidScope: The user may not have a scope.
            Overloaded: Too many passwords are being checked.
        """
        if self._guesses is not None:
            await self._guesses.count(name, address)  # before the password is checked, which takes long
        user = None
        if re.fullmatch(NAME_PATTERN, name):  # nobody has another name; PostgreSQL cannot even take a NUL
            async with self._sessions() as session:
                user = await UserRepository(session).by_name(name)
        # The connection is back in the pool: checking takes longer than all queries of a request together.
        is_right, new_hash = await self._passwords.check(password, user.password_hash if user else None)
        if user is None or not is_right:
            raise InvalidGrant(error="invalid_grant")
        if new_hash is not None:
            async with self._sessions.begin() as session:
                await UserRepository(session).set_password_hash(user.id, user.password_hash, new_hash)
        granted = set(scopes) or set(user.scopes)
        if not granted <= set(user.scopes):
            raise InvalidScope(error="invalid_scope")
        return self.tokens.issue(user.id, granted), granted

    async def user(self, user_id: uuid.UUID) -> User:
        """Return the user of a token.

        Raises:
            NotAuthenticated: The user is gone since the token was issued.
        """
        async with self._sessions() as session:
            user = await UserRepository(session).by_id(user_id)
        if user is None:
            raise NotAuthenticated.invalid("The user of this access token does not exist")
        return user


@asynccontextmanager
async def open_service(resources: Resources) -> AsyncIterator[IdentityService]:
    """Give the service to a process; in the end the checks of passwords that are under way finish."""
    settings = resources["settings"]
    other = settings.token_other_secret
    tokens = Tokens(
        token_secret(settings),
        ttl_s=settings.token_ttl_s,
        other_secret=None if other is None else other.get_secret_value(),
    )
    with closing(Passwords()) as passwords:
        redis = resources["redis"]
        guesses = None if redis is None else Guesses(redis, limit=settings.sign_in_limit)
        yield IdentityService(resources["sessions"], passwords, tokens, guesses)


class UnknownUser(Exception):
    """There is no user with this name."""


class OperatorService:
    """Says what users may; it is reached from the command line alone: `python -m reference_app.identity`.

    Args:
        sessions: The session factory of the process.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def scopes(self, name: str) -> list[str]:
        """Return what the tokens of a user may carry.

        Raises:
            UnknownUser: There is none with this name.
        """
        return await self._change(name)

    async def grant(self, name: str, *scopes: str) -> list[str]:
        """Add scopes, in tokens from the next sign-in on, and return what the user may now.

        Raises:
            UnknownUser: There is none with this name.
        """
        return await self._change(name, granted=scopes)

    async def revoke(self, name: str, *scopes: str) -> list[str]:
        """Take scopes away, and return what is left; tokens that were issued keep them until they expire.

        Raises:
            UnknownUser: There is none with this name.
        """
        return await self._change(name, revoked=scopes)

    async def _change(self, name: str, granted: Iterable[str] = (), revoked: Iterable[str] = ()) -> list[str]:
        async with self._sessions.begin() as session:
            users = UserRepository(session)
            user = await users.locked(name)
            if user is None:
                raise UnknownUser(name)
            scopes = sorted({*user.scopes, *granted} - set(revoked))
            if scopes != user.scopes:
                await users.set_scopes(name, scopes)
        return scopes
