# rejected by test_a_change_is_seen: after one change the price is never stored again
class QuoteCache:
    def __init__(self, read_row):
        self.read_row = read_row
        self.prices = {}
        self.changed = set()

    async def get(self, symbol):
        if symbol in self.prices:
            return self.prices[symbol]
        price = await self.read_row(symbol)
        if symbol not in self.changed:
            self.prices[symbol] = price
        return price

    def invalidate(self, symbol):
        self.changed.add(symbol)
        self.prices.pop(symbol, None)
