from reference_app.patterns.ttl_cache import TTLCache


class QuoteCache:
    def __init__(self, read_row):
        self.read_row = read_row
        self.cache = TTLCache(ttl_s=60, max_entries=1_000)

    async def get(self, symbol):
        return await self.cache.get_or_load(symbol, lambda: self.read_row(symbol))

    def invalidate(self, symbol):
        self.cache.invalidate(symbol)
