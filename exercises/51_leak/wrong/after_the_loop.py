# rejected by test_who_is_cancelled_is_forgotten: nobody comes to the line below an endless loop
import asyncio


class PriceFeed:
    def __init__(self):
        self.queues = []

    async def watch(self, send):
        queue = asyncio.Queue()
        self.queues.append(queue)
        while True:
            await send(await queue.get())
        self.queues.remove(queue)

    def publish(self, price):
        for queue in self.queues:
            queue.put_nowait(price)
