MARKET = {"type": "market", "symbol": "IBM", "quantity": 100}
LIMIT = {"type": "limit", "symbol": "IBM", "quantity": 100, "limit_price": "20.00"}
STOP = {"type": "stop", "symbol": "IBM", "quantity": 100, "stop_price": "190.00"}


async def test_good_orders_are_taken(answer, evidence, http):
    """Each kind of order is taken for what it is."""
    for order, kind in ((MARKET, "Market"), (LIMIT, "Limit"), (STOP, "Stop")):
        evidence.given(order)
        reply = await http(answer.app).post("/orders", json=order)
        evidence.got(reply)
        assert reply.status_code == 200, "A good order was refused."
        assert reply.json() == kind, "The order was taken for another kind."


async def test_a_misspelt_limit_is_refused(answer, evidence, http):
    """A limit order whose limit is misspelt is answered with 422, and never becomes a market order."""
    order = {"type": "limit", "symbol": "IBM", "quantity": 100, "limit_prize": "20.00"}
    evidence.given(order)
    reply = await http(answer.app).post("/orders", json=order)
    evidence.got(reply)
    assert reply.status_code == 422, "The order was accepted without its limit."


async def test_an_error_speaks_of_one_kind(answer, evidence, http):
    """A stop order without its quantity gets one error, and it points at the quantity."""
    order = {"type": "stop", "symbol": "IBM", "stop_price": "190.00"}
    evidence.given(order)
    reply = await http(answer.app).post("/orders", json=order)
    assert reply.status_code == 422, "The order was accepted without a quantity."
    places = ["/".join(map(str, error["loc"])) for error in reply.json()["detail"]]
    evidence.got(f"errors at {' and '.join(places)}")
    assert len(places) == 1, "There is one mistake in the order, and more than one error."
    assert places[0].endswith("quantity"), "The error points at another place."


async def test_an_unknown_kind_is_refused(answer, evidence, http):
    """An order of an unknown kind, or of none, is answered with 422."""
    for order in ({**MARKET, "type": "swap"}, {"symbol": "IBM", "quantity": 100}):
        evidence.given(order)
        reply = await http(answer.app).post("/orders", json=order)
        evidence.got(reply)
        assert reply.status_code == 422, "The desk took a guess."
