from reference_app.patterns.single_flight import SingleFlight


class QuoteCache:
    def __init__(self, load):
        self.load = load
        self.prices = {}
        self.flights = SingleFlight()

    async def get(self, symbol):
        if symbol in self.prices:
            return self.prices[symbol]

        async def load_and_keep():
            self.prices[symbol] = await self.load(symbol)
            return self.prices[symbol]

        return await self.flights.do(symbol, load_and_keep)
