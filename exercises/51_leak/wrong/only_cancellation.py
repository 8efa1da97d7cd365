# rejected by test_who_breaks_off_is_forgotten: an error of `send` passes by
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
        except asyncio.CancelledError:
            self.queues.remove(queue)
            raise

    def publish(self, price):
        for queue in self.queues:
            queue.put_nowait(price)
