# rejected by test_a_retry_gets_the_same_number: one order, and the client still does not know its number
from sqlalchemy import text


class KeyReused(Exception):
    """The key belongs to another order."""


async def place_order(sessions, key, symbol, quantity):
    """Place one order for a key, however often it is sent; return its number."""
    order = {"key": key, "symbol": symbol, "quantity": quantity}
    claim = text("INSERT INTO keys VALUES (:key, :symbol, :quantity) ON CONFLICT DO NOTHING")
    place = text("INSERT INTO orders (symbol, quantity) VALUES (:symbol, :quantity) RETURNING id")
    keep = text("UPDATE keys SET order_id = :number WHERE key = :key")
    async with sessions.begin() as session:
        if (await session.execute(claim, order)).rowcount == 1:
            number = await session.scalar(place, order)
            await session.execute(keep, {"key": key, "number": number})
            return number
    return None
