"""Gates: explore real PostgreSQL and Redis by stopping every statement before it leaves for the server.

In process the explorer owns the event loop. With a real server it cannot: the loop must do real I/O, and half
of the state is in another process. So it takes the narrowest seam instead. Each statement, COMMIT, ROLLBACK
or command waits at a gate until the search lets it through, one at a time, and the next choice is made only
when its effect is known: it has returned, or the server says that it is blocked (`pg_blocking_pids`). No
timeout and no sleep decides. Source: the idea of Hermitage (Kleppmann, 2014) and of PostgreSQL's own
isolation tester, done exhaustively.
"""

from __future__ import annotations

from deskbook.races._gates.base import Gate
from deskbook.races._gates.postgres import AsyncpgGate
from deskbook.races._gates.psycopg_statements import PsycopgGate
from deskbook.races._gates.redis_commands import RedisGate
from deskbook.races._gates.sqlalchemy_engine import SQLAlchemyGate

__all__ = ["AsyncpgGate", "Gate", "PsycopgGate", "RedisGate", "SQLAlchemyGate"]
