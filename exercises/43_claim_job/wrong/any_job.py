# rejected by test_the_oldest_is_taken: without an order, PostgreSQL gives the one it finds first
from sqlalchemy import text


async def claim(session, worker):
    """Take the oldest job that nobody has; return its number, or None. The caller commits."""
    oldest = text("SELECT id FROM jobs WHERE worker IS NULL LIMIT 1 FOR UPDATE SKIP LOCKED")
    job = await session.scalar(oldest)
    if job is not None:
        mark = text("UPDATE jobs SET worker = :worker WHERE id = :id")
        await session.execute(mark, {"worker": worker, "id": job})
    return job
