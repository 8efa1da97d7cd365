# rejected by test_each_gets_another: the second update waits, and then takes what the first has taken
from sqlalchemy import text


async def claim(session, worker):
    """Take the oldest job that nobody has; return its number, or None. The caller commits."""
    take = """UPDATE jobs SET worker = :worker WHERE id = (
        SELECT id FROM jobs WHERE worker IS NULL ORDER BY id LIMIT 1
    ) RETURNING id"""
    return await session.scalar(text(take), {"worker": worker})
