"""The key and the order are committed together, so a crash leaves both or neither.

The key goes in first. A second copy of the request has to wait at that row until the first one has committed,
then changes nothing (`ON CONFLICT DO NOTHING`), and reads the number that is there. If the first one dies,
its key goes with it, and the second copy goes on in its place.

The pattern `idempotency_key` also keeps the whole reply, for each user, and forgets it after a day.
"""

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
        if (await session.execute(claim, order)).rowcount == 1:
            number = await session.scalar(place, order)
            await session.execute(keep, {"key": key, "number": number})
            return number
        stored = (await session.execute(find, order)).one()
    if (stored.symbol, stored.quantity) != (symbol, quantity):
        raise KeyReused(key)
    return stored.order_id
