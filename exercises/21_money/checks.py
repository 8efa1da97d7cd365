import json


async def deposit(client, *amounts):
    """Send each amount as the JSON text that it is, and return the replies."""
    headers = {"Content-Type": "application/json"}
    return [await client.post("/deposits", content=f'{{"amount": {it}}}', headers=headers) for it in amounts]


def balance_in(reply):
    """Return the balance as it stands in the JSON text, without making a float of it."""
    return json.loads(reply.text, parse_float=str, parse_int=str)["balance"]


async def test_a_deposit_is_booked(answer, evidence, http):
    """A deposit of "19.90" is answered with 200, and 19.90 is the balance."""
    evidence.given('a deposit of "19.90"')
    [reply] = await deposit(http(answer.make_app()), '"19.90"')
    evidence.got(reply)
    assert reply.status_code == 200, "The deposit was not booked."
    assert balance_in(reply) in {"19.90", "19.9"}, "This is another balance."


async def test_no_cent_is_lost(answer, evidence, http):
    """Ten cents and twenty cents make thirty cents, exactly."""
    evidence.given('deposits of "0.10" and "0.20"')
    *_, reply = await deposit(http(answer.make_app()), '"0.10"', '"0.20"')
    evidence.got(reply)
    assert balance_in(reply) in {"0.30", "0.3"}, "The balance is not 0.30."


async def test_the_balance_is_text_with_two_digits(answer, evidence, http):
    """The balance leaves as text with two digits after the point."""
    evidence.given('a deposit of "1.10"')
    [reply] = await deposit(http(answer.make_app()), '"1.10"')
    evidence.got(reply)
    assert reply.json() == {"balance": "1.10"}, 'The balance is not the text "1.10".'


async def test_a_number_is_refused(answer, evidence, http):
    """An amount that is a JSON number is answered with 422, and nothing is booked."""
    evidence.given('a deposit of the number 19.90, and then one of "1.00"')
    refused, booked = await deposit(http(answer.make_app()), "19.90", '"1.00"')
    evidence.got(f"{refused.status_code}, then a balance of {balance_in(booked)}")
    assert refused.status_code == 422, "The number was not refused."
    assert balance_in(booked) == "1.00", "Something of the number was booked."


async def test_a_third_digit_is_refused(answer, evidence, http):
    """An amount with three digits after the point is answered with 422, and nothing is booked."""
    evidence.given('a deposit of "0.005", and then one of "1.00"')
    refused, booked = await deposit(http(answer.make_app()), '"0.005"', '"1.00"')
    evidence.got(f"{refused.status_code}, then a balance of {balance_in(booked)}")
    assert refused.status_code == 422, "Half a cent was not refused."
    assert balance_in(booked) == "1.00", "Something of the half cent was booked."
