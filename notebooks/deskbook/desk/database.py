"""The database of the desk: its template, the user who is in it, and the header that signs a request."""

from __future__ import annotations

import functools
import hashlib
import secrets
import uuid
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import asyncpg

import reference_app
from deskbook.services import Template
from reference_app.data.load import load_async
from reference_app.identity.passwords import Passwords
from reference_app.identity.service import IdentityService
from reference_app.identity.tokens import Tokens
from reference_app.infra.database.engine import create_engine, create_sessions
from reference_app.nouns import SCOPES
from reference_app.settings import load_settings

SQL_TIMEOUT_S = 10.0

#: Who is in every database of the desk. No secrets: the database is on this machine and gone in the end.
USER, PASSWORD = "ada", "correct horse battery"
TOKEN_SECRET = secrets.token_urlsafe(32)


@functools.cache
def desk_template() -> Template:
    """Return the template of the desk's database: migrated, filled with the real prices, analysed.

    Its name holds a hash of the app: a list of what migrating and loading need would be forgotten when a noun
    is added, and nothing shows that a template is stale. Measured: the hash takes 10 ms.
    """
    root = Path(reference_app.__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *(root / "data").iterdir()]):
        if path.is_file():
            digest.update(path.read_bytes())
    return Template(f"desk {digest.hexdigest()[:16]}", _build)


def token_header(tokens: Tokens, user_id: uuid.UUID, scopes: Iterable[str] = SCOPES) -> dict[str, str]:
    """Return the Authorization header with a new token for the user."""
    return {"Authorization": f"Bearer {tokens.issue(user_id, scopes)}"}


async def _build(url: str) -> None:
    # Here and not above: Alembic costs a kernel a quarter of a second, and the template is built once.
    from reference_app.infra.database.schema import upgrade_async

    await upgrade_async(url)
    await load_async(url)
    await _register(url)
    connection = await asyncpg.connect(url, timeout=SQL_TIMEOUT_S, command_timeout=SQL_TIMEOUT_S)
    try:
        await connection.execute("ANALYZE")
    finally:
        await connection.close(timeout=SQL_TIMEOUT_S)


async def _register(url: str) -> None:
    """Add the user to a template; here and not in each database, because hashing a password takes long."""
    settings = load_settings(database_url=url)
    engine = create_engine(settings)
    try:
        with closing(Passwords()) as passwords:
            identity = IdentityService(create_sessions(engine), passwords, Tokens(TOKEN_SECRET, ttl_s=1))
            await identity.register(USER, PASSWORD)
    finally:
        await engine.dispose()
