"""A worker wants any free job, so it passes over those that somebody has locked.

`FOR UPDATE` locks the job until the worker commits, and `SKIP LOCKED` leaves out what others have locked, in
place of waiting for it. If the worker dies, PostgreSQL frees the lock with the connection, and the mark was
never committed.

The lock lasts as long as the work. For work of more than a moment take the job in a short transaction and
write down until when it is taken: the pattern `skip_locked_queue`.
"""

from sqlalchemy import text


async def claim(session, worker):
    """Take the oldest job that nobody has; return its number, or None. The caller commits."""
    oldest = text("SELECT id FROM jobs WHERE worker IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED")
    job = await session.scalar(oldest)
    if job is not None:
        mark = text("UPDATE jobs SET worker = :worker WHERE id = :id")
        await session.execute(mark, {"worker": worker, "id": job})
    return job
