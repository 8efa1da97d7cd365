# rejected by test_nobody_waits: no job goes twice, and one worker waits for the other's work
from sqlalchemy import text


async def claim(session, worker):
    """Take the oldest job that nobody has; return its number, or None. The caller commits."""
    oldest = text("SELECT id FROM jobs WHERE worker IS NULL ORDER BY id LIMIT 1 FOR UPDATE")
    job = await session.scalar(oldest)
    if job is not None:
        mark = text("UPDATE jobs SET worker = :worker WHERE id = :id")
        await session.execute(mark, {"worker": worker, "id": job})
    return job
