async def test_a_known_symbol_has_its_price(answer, evidence, http):
    """GET /quotes/IBM answers 200 with the symbol and its price."""
    evidence.given("GET /quotes/IBM")
    evidence.expected('{"symbol": "IBM", "price": "202.91"}')
    reply = await http(answer.app).get("/quotes/IBM")
    evidence.got(reply)
    assert reply.status_code == 200, "The status is not 200."
    body = reply.json()
    assert body == {"symbol": "IBM", "price": body["price"]}, "The body has other keys, or another symbol."
    assert isinstance(body["price"], str), "The price is not a string; a JSON number loses digits."
    assert body["price"] == "202.91", "The price is not that of IBM."


async def test_the_symbol_that_was_asked_for(answer, evidence, http):
    """GET /quotes/AAPL answers with the price of AAPL, not with that of another symbol."""
    evidence.given("GET /quotes/AAPL")
    evidence.expected('{"symbol": "AAPL", "price": "430.47"}')
    reply = await http(answer.app).get("/quotes/AAPL")
    evidence.got(reply)
    assert reply.status_code == 200, "The status is not 200."
    assert reply.json() == {"symbol": "AAPL", "price": "430.47"}, "This is another quote."


async def test_an_unknown_symbol_is_not_found(answer, evidence, http):
    """GET /quotes/NONE answers 404, because nothing is known by that name."""
    evidence.given("GET /quotes/NONE")
    reply = await http(answer.app).get("/quotes/NONE")
    evidence.got(reply)
    assert reply.status_code == 404, f"The status is {reply.status_code}."
