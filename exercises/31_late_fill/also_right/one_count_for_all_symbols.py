class QuoteCache:
    def __init__(self, read_row):
        self.read_row = read_row
        self.prices = {}
        self.changes = 0

    async def get(self, symbol):
        if symbol in self.prices:
            return self.prices[symbol]
        changes = self.changes
        price = await self.read_row(symbol)
        if self.changes == changes:
            self.prices[symbol] = price
        return price

    def invalidate(self, symbol):
        self.changes += 1
        self.prices.pop(symbol, None)
