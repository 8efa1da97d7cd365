# rejected by test_who_is_cancelled_is_forgotten: a cancellation is no Exception
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
        except Exception:
            self.queues.remove(queue)
            raise

    def publish(self, price):
        for queue in self.queues:
            queue.put_nowait(price)
