# rejected by test_the_oldest_is_taken: a job that is locked, and free again after the commit
from sqlalchemy import text


async def claim(session, worker):
    """Take the oldest job that nobody has; return its number, or None. The caller commits."""
    oldest = text("SELECT id FROM jobs WHERE worker IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED")
    return await session.scalar(oldest)
