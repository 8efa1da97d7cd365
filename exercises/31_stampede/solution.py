"""One lock a symbol makes the others wait, and whoever gets it looks again.

The second look is what ends the stampede: the price is there by then. If the first client fails or is
cancelled, the lock is free, and the next one loads. The locks are never removed here; the pattern
`single_flight` keeps nothing, and waits without a queue.
"""

import asyncio


class QuoteCache:
    def __init__(self, load):
        self.load = load
        self.prices = {}
        self.locks = {}

    async def get(self, symbol):
        if symbol in self.prices:
            return self.prices[symbol]
        # Without it, everybody who asks before the first load has ended loads too.
        async with self.locks.setdefault(symbol, asyncio.Lock()):
            if symbol not in self.prices:
                self.prices[symbol] = await self.load(symbol)
            return self.prices[symbol]
