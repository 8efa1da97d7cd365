# rejected by test_who_stays_goes_on: one client leaves, and the feed forgets all of them
import asyncio


class PriceFeed:
    def __init__(self):
        self.queues = []

    async def watch(self, send):
        queue = asyncio.Queue()
        self.queues.append(queue)
        try:
            while True:
                await send(await queue.get())
        finally:
            self.queues.clear()

    def publish(self, price):
        for queue in self.queues:
            queue.put_nowait(price)
