from sqlalchemy import text


async def claim(session, worker):
    """Take the oldest job that nobody has; return its number, or None. The caller commits."""
    take = """UPDATE jobs SET worker = :worker WHERE id = (
        SELECT id FROM jobs WHERE worker IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING id"""
    return await session.scalar(text(take), {"worker": worker})
