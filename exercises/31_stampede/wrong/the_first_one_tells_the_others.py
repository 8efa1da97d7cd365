# rejected by test_a_cancelled_client_takes_nobody_along: if it goes, nobody tells them
import asyncio


class QuoteCache:
    def __init__(self, load):
        self.load = load
        self.prices = {}
        self.loads = {}

    async def get(self, symbol):
        if symbol in self.prices:
            return self.prices[symbol]
        if symbol in self.loads:
            return await self.loads[symbol]
        told = self.loads[symbol] = asyncio.get_running_loop().create_future()
        try:
            self.prices[symbol] = await self.load(symbol)
        except Exception as error:
            told.set_exception(error)
            told.exception()
            raise
        else:
            told.set_result(self.prices[symbol])
            return self.prices[symbol]
        finally:
            del self.loads[symbol]
