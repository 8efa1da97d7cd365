import asyncio


class QuoteCache:
    def __init__(self, load):
        self.load = load
        self.prices = {}
        self.ended = {}

    async def get(self, symbol):
        while symbol not in self.prices:
            if symbol in self.ended:
                await self.ended[symbol].wait()
                continue
            ended = self.ended[symbol] = asyncio.Event()
            try:
                self.prices[symbol] = await self.load(symbol)
            finally:
                del self.ended[symbol]
                ended.set()
        return self.prices[symbol]
