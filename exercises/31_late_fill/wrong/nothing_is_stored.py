# rejected by test_a_price_is_kept: without a cache there is no old price, and no cache
class QuoteCache:
    def __init__(self, read_row):
        self.read_row = read_row
        self.prices = {}

    async def get(self, symbol):
        return await self.read_row(symbol)

    def invalidate(self, symbol):
        self.prices.pop(symbol, None)
