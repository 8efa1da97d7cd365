# rejected by test_a_crash_leaves_all_or_nothing: a key without an order, and no retry will place it
from sqlalchemy import text


class KeyReused(Exception):
    """The key belongs to another order."""


async def place_order(sessions, key, symbol, quantity):
    """Place one order for a key, however often it is sent; return its number."""
    order = {"key": key, "symbol": symbol, "quantity": quantity}
    claim = text("INSERT INTO keys VALUES (:key, :symbol, :quantity) ON CONFLICT DO NOTHING")
    place = text("INSERT INTO orders (symbol, quantity) VALUES (:symbol, :quantity) RETURNING id")
    keep = text("UPDATE keys SET order_id = :number WHERE key = :key")
    find = text("SELECT symbol, quantity, order_id FROM keys WHERE key = :key")
    async with sessions.begin() as session:
        claimed = (await session.execute(claim, order)).rowcount
        stored = (await session.execute(find, order)).one()
    if (stored.symbol, stored.quantity) != (symbol, quantity):
        raise KeyReused(key)
    if not claimed:
        return stored.order_id
    async with sessions.begin() as session:
        number = await session.scalar(place, order)
        await session.execute(keep, {"key": key, "number": number})
    return number
