# rejected by test_each_gets_another: NOWAIT is an error for the second worker
from sqlalchemy import text


async def claim(session, worker):
    """Take the oldest job that nobody has; return its number, or None. The caller commits."""
    oldest = text("SELECT id FROM jobs WHERE worker IS NULL ORDER BY id LIMIT 1 FOR UPDATE NOWAIT")
    job = await session.scalar(oldest)
    if job is not None:
        mark = text("UPDATE jobs SET worker = :worker WHERE id = :id")
        await session.execute(mark, {"worker": worker, "id": job})
    return job
