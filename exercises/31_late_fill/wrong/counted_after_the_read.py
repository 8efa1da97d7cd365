# rejected by test_no_order_keeps_the_old_price: the change is counted before anybody looks
class QuoteCache:
    def __init__(self, read_row):
        self.read_row = read_row
        self.prices = {}
        self.changes = {}

    async def get(self, symbol):
        if symbol in self.prices:
            return self.prices[symbol]
        price = await self.read_row(symbol)
        changes = self.changes.get(symbol, 0)
        if self.changes.get(symbol, 0) == changes:
            self.prices[symbol] = price
        return price

    def invalidate(self, symbol):
        self.changes[symbol] = self.changes.get(symbol, 0) + 1
        self.prices.pop(symbol, None)
