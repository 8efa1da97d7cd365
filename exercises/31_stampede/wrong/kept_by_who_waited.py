# rejected by test_clients_together_cause_one_load: for one turn, neither task nor price is there
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
            task = self.tasks[symbol] = asyncio.create_task(self.load(symbol))
            task.add_done_callback(lambda _: self.tasks.pop(symbol))
        self.prices[symbol] = await asyncio.shield(task)
        return self.prices[symbol]
