from sqlalchemy import text


async def claim(session, worker):
    """Take the oldest job that nobody has; return its number, or None. The caller commits."""
    take = """WITH free AS MATERIALIZED (
        SELECT id FROM jobs WHERE worker IS NULL ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    ) UPDATE jobs SET worker = :worker FROM free WHERE jobs.id = free.id RETURNING jobs.id"""
    return (await session.execute(text(take), {"worker": worker})).scalar_one_or_none()
