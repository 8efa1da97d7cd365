"""Real PostgreSQL and Valkey servers on a laptop: find them, start them, leave nothing behind.

>>> services = ensure("postgres", "redis")          # doctest: +SKIP
>>> with fresh_database() as url: ...               # doctest: +SKIP

Servers belong to one supervisor process a user and environment, and end about a second after the last process
that asked for them. See `ensure` for the order in which a server is looked for.
"""

from deskbook.services.databases import FreshDatabase, Template, fresh_database
from deskbook.services.ensuring import ensure
from deskbook.services.errors import ServicesError
from deskbook.services.model import Service, Services

__all__ = ["FreshDatabase", "Service", "Services", "ServicesError", "Template", "ensure", "fresh_database"]
