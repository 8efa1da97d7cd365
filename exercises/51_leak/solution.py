"""What is added for a client is taken away in a `finally`, so it goes however the client goes.

A cancellation and an error of `send` both leave `watch` through the `finally`. `publish` goes over a copy,
for a later version of it may let others run in between. A client that stays and never reads is another leak:
it needs a bound on its queue.
"""

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
            self.queues.remove(queue)

    def publish(self, price):
        for queue in list(self.queues):
            queue.put_nowait(price)
