from sqlalchemy import text


class KeyReused(Exception):
    """The key belongs to another order."""


async def place_order(sessions, key, symbol, quantity):
    """Place one order for a key, however often it is sent; return its number."""
    order = {"key": key, "symbol": symbol, "quantity": quantity}
    find = text("SELECT symbol, quantity, order_id FROM keys WHERE key = :key")
    place = text("INSERT INTO orders (symbol, quantity) VALUES (:symbol, :quantity) RETURNING id")
    keep = text("INSERT INTO keys VALUES (:key, :symbol, :quantity, :number)")
    async with sessions.begin() as session:
        await session.execute(text("LOCK TABLE keys IN EXCLUSIVE MODE"))
        stored = (await session.execute(find, order)).one_or_none()
        if stored is None:
            number = await session.scalar(place, order)
            await session.execute(keep, {**order, "number": number})
            return number
    if (stored.symbol, stored.quantity) != (symbol, quantity):
        raise KeyReused(key)
    return stored.order_id
