from sqlalchemy import Integer, String, column, select, table, update

JOBS = table("jobs", column("id", Integer), column("worker", String))


async def claim(session, worker):
    """Take the oldest job that nobody has; return its number, or None. The caller commits."""
    free = select(JOBS.c.id).where(JOBS.c.worker.is_(None)).order_by(JOBS.c.id).limit(1)
    job = await session.scalar(free.with_for_update(skip_locked=True))
    if job is not None:
        await session.execute(update(JOBS).where(JOBS.c.id == job).values(worker=worker))
    return job
