import asyncio
from contextlib import contextmanager


class PriceFeed:
    def __init__(self):
        self.queues = set()

    @contextmanager
    def subscribed(self):
        queue = asyncio.Queue()
        self.queues.add(queue)
        try:
            yield queue
        finally:
            self.queues.discard(queue)

    async def watch(self, send):
        with self.subscribed() as queue:
            while True:
                await send(await queue.get())

    def publish(self, price):
        for queue in self.queues:
            queue.put_nowait(price)
