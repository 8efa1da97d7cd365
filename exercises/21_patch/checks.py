BEFORE = {"name": "Tech", "note": "sell in May"}


async def change(http, answer, body):
    """Send one change to a new watchlist, and return the reply and the watchlist afterwards."""
    watchlist = dict(BEFORE)
    return await http(answer.make_app(watchlist)).patch("/watchlist", json=body), watchlist


async def test_what_is_sent_is_changed(answer, evidence, http):
    """A new note is stored, and the reply shows it."""
    evidence.given(f'{BEFORE}, and the body {{"note": "hold"}}')
    reply, watchlist = await change(http, answer, {"note": "hold"})
    evidence.got(reply)
    assert reply.status_code == 200, "The change was refused."
    assert watchlist["note"] == reply.json()["note"] == "hold", "The note is another one."


async def test_what_is_absent_stays(answer, evidence, http):
    """What is not in the body stays as it was."""
    for body in ({}, {"name": "Chips"}, {"note": "hold"}):
        evidence.given(f"{BEFORE}, and the body {body}")
        _, watchlist = await change(http, answer, body)
        evidence.got(f"the watchlist {watchlist}")
        assert watchlist == BEFORE | body, "Something has changed that was not sent."


async def test_null_deletes_the_note(answer, evidence, http):
    """A note that is null is deleted, and everything else stays."""
    evidence.given(f'{BEFORE}, and the body {{"note": null}}')
    reply, watchlist = await change(http, answer, {"note": None})
    evidence.got(f"{reply.status_code}, and the watchlist {watchlist}")
    assert reply.status_code == 200, "The change was refused."
    assert watchlist.get("note") is None, "The note is still there."
    assert watchlist["name"] == "Tech", "The name has changed."


async def test_the_name_cannot_be_null(answer, evidence, http):
    """A name that is null is answered with 422, and nothing changes."""
    evidence.given(f'{BEFORE}, and the body {{"name": null, "note": "hold"}}')
    reply, watchlist = await change(http, answer, {"name": None, "note": "hold"})
    evidence.got(f"{reply.status_code}, and the watchlist {watchlist}")
    assert reply.status_code == 422, "The name was not refused."
    assert watchlist == BEFORE, "The watchlist has changed."
