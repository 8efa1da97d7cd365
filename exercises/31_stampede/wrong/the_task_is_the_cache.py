# rejected by test_a_failure_is_not_kept: a task that has failed is kept for ever
import asyncio


class QuoteCache:
    def __init__(self, load):
        self.load = load
        self.prices = {}

    async def get(self, symbol):
        if symbol not in self.prices:
            self.prices[symbol] = asyncio.create_task(self.load(symbol))
        return await asyncio.shield(self.prices[symbol])
