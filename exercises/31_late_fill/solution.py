"""Whoever read before the change must not store after it, so the reader asks whether there was one.

`invalidate` counts the changes of a symbol. The reader notes the count before it reads, and stores its price
only if the count is still the same. Between that look and the store is no `await`, so nothing can come in.
"""


class QuoteCache:
    def __init__(self, read_row):
        self.read_row = read_row
        self.prices = {}
        self.changes = {}

    async def get(self, symbol):
        if symbol in self.prices:
            return self.prices[symbol]
        changes = self.changes.get(symbol, 0)
        price = await self.read_row(symbol)
        if self.changes.get(symbol, 0) == changes:
            self.prices[symbol] = price
        return price

    def invalidate(self, symbol):
        self.changes[symbol] = self.changes.get(symbol, 0) + 1
        self.prices.pop(symbol, None)
