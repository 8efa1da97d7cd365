import asyncio


class QuoteCache:
    def __init__(self, load):
        self.load = load
        self.prices = {}
        self.tasks = {}

    async def get(self, symbol):
        if symbol in self.prices:
            return self.prices[symbol]
        task = self.tasks.get(symbol)
        if task is None:
            task = self.tasks[symbol] = asyncio.create_task(self.load_and_keep(symbol))
            task.add_done_callback(lambda _: self.tasks.pop(symbol))
        return await asyncio.shield(task)

    async def load_and_keep(self, symbol):
        self.prices[symbol] = await self.load(symbol)
        return self.prices[symbol]
