class QuoteCache:
    def __init__(self, read_row):
        self.read_row = read_row
        self.prices = {}
        self.tickets = {}

    async def get(self, symbol):
        if symbol in self.prices:
            return self.prices[symbol]
        ticket = object()
        self.tickets.setdefault(symbol, set()).add(ticket)
        try:
            price = await self.read_row(symbol)
            if ticket in self.tickets.get(symbol, ()):
                self.prices[symbol] = price
            return price
        finally:
            self.tickets.get(symbol, set()).discard(ticket)

    def invalidate(self, symbol):
        self.tickets.pop(symbol, None)
        self.prices.pop(symbol, None)
