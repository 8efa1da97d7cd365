import asyncio
import weakref


class PriceFeed:
    def __init__(self):
        self.queues = weakref.WeakSet()

    async def watch(self, send):
        queue = asyncio.Queue()
        self.queues.add(queue)
        while True:
            await send(await queue.get())

    def publish(self, price):
        for queue in self.queues:
            queue.put_nowait(price)
