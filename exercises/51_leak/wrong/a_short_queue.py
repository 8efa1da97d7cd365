# rejected by test_every_client_gets_every_price: a bound makes the leak smaller, and loses prices
import asyncio


class PriceFeed:
    def __init__(self):
        self.queues = []

    async def watch(self, send):
        queue = asyncio.Queue(maxsize=10)
        self.queues.append(queue)
        while True:
            await send(await queue.get())

    def publish(self, price):
        for queue in self.queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(price)
