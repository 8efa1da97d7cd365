# rejected by test_a_price_is_loaded_once_and_kept: the tasks are shared, and the prices forgotten
import asyncio


class QuoteCache:
    def __init__(self, load):
        self.load = load
        self.prices = {}
        self.tasks = {}

    async def get(self, symbol):
        task = self.tasks.get(symbol)
        if task is None:
            task = self.tasks[symbol] = asyncio.create_task(self.load(symbol))
            task.add_done_callback(lambda _: self.tasks.pop(symbol))
        return await asyncio.shield(task)
