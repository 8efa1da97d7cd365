"""RFC 9110 section 12.5.1: the narrowest range decides about each offer, then the highest weight wins."""

from __future__ import annotations

import asyncio
import doctest
import itertools
import sys
import time
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI

from reference_app.patterns.negotiation import MediaRange, Negotiation, NotAcceptable, parse_range

OFFERS = ("application/json", "text/csv", "application/jsonl", "text/csv;header=present")
JSON, CSV, JSONL, CSV_WITH_HEADER = OFFERS
CASES: list[tuple[str | None, str | None]] = [
    (None, JSON),
    ("", JSON),
    ("*/*", JSON),
    ("application/json", JSON),
    ("text/csv", CSV),
    ("text/*", CSV),
    ("TEXT/CSV", CSV),
    ("text/html", None),
    ("text/html, */*;q=0.1", JSON),
    ("text/csv;q=0.8, application/jsonl;q=0.9", JSONL),
    ("text/csv, application/jsonl", CSV),
    # The narrowest range decides, wherever it stands and whatever the wider ones weigh.
    ("application/*, application/json;q=0.1", JSONL),
    ("application/json;q=0, application/*", JSONL),
    ("*/*, application/*;q=0, text/*;q=0.5, text/csv;q=0", None),
    ("text/*, text/csv;q=0", None),
    ("*/*;q=0", None),
    ("application/json;q=0", None),
    ("*/*;q=0.9, application/json;q=0.5", CSV),
    # Parameters: a range with some is for offers that have them, one without is for all.
    ("text/csv;header=present", CSV_WITH_HEADER),
    ("text/csv;header=absent", None),
    ("text/csv;header=absent, application/jsonl;q=0.1", JSONL),
    ("text/csv;q=0.1, text/csv;header=present;q=0.2", CSV_WITH_HEADER),
    ('text/csv;HEADER="Present"', CSV_WITH_HEADER),
    ("text/csv; q=0.5 ;ignored=extension, application/jsonl;q=0.4", CSV),
    ("text/csv;Q=0.1, application/jsonl;q=0.2", JSONL),
    # Quoted values may hold commas, semicolons and escaped quotes.
    ('text/plain;note="a, b;q=1", application/jsonl', JSONL),
    (r'text/plain;note="\", application/json, ", application/jsonl', JSONL),
    # What cannot be read is left out: the rest counts, and nothing is everything.
    ("text/csv;q=2, application/jsonl;q=0.1", JSONL),
    ("text/csv;q=0.1234, application/jsonl;q=0.1", JSONL),
    ("text/csv;q=, application/jsonl;q=0.1", JSONL),
    ("text/csv;q=-1, application/jsonl;q=0.1", JSONL),
    ("*/json, application/jsonl", JSONL),
    ("text, /csv, text/, text/c sv, application/jsonl", JSONL),
    ("*", JSON),
    (", ,;", JSON),
    ("text/csv;q=0.001", CSV),
    ("text/csv;q=1.000, application/json;q=0.999", CSV),
    # What was sent may be asked for as it came: Starlette says the charset of a text.
    ("text/csv; charset=utf-8", CSV),
    ("application/json; charset=UTF-8", JSON),
    ('text/csv;charset="utf-8";q=0.5, application/json;q=0.4', CSV),
    ("text/*;charset=utf-8", CSV),
    ("text/csv;charset=utf-8;q=0.1, text/csv, application/json;q=0.5", JSON),
    ("text/csv; charset=iso-8859-1", None),
    ("text/csv; charset=utf-8; header=absent", None),
]


def outcome(kind: Any, accept: str | None) -> str | None:
    try:
        return str(kind(*OFFERS).choose(accept))
    except NotAcceptable:
        return None


@pytest.mark.parametrize(("accept", "expected"), CASES)
def test_the_representation_is_chosen_by_the_book(accept: str | None, expected: str | None) -> None:
    assert outcome(Negotiation, accept) == expected


class HeaviestRangeFirst(Negotiation):
    """A wrong twin: it takes the range that the client likes best, and sends what fits it."""

    def choose(self, accept: str | None) -> str:
        members = [part for part in (accept or "*/*").split(",") if "/" in part]
        ranges = sorted(map(parse_range, members), key=lambda it: -it.weight)
        for wanted in ranges:
            for offer in OFFERS:
                if wanted.weight and wanted.covers(parse_range(offer)):
                    return offer
        raise NotAcceptable(406)


class HeaviestCoverDecides(Negotiation):
    """A wrong twin: of the ranges that cover an offer the heaviest counts, however wide it is."""

    def choose(self, accept: str | None) -> str:
        ranges = [parse_range(it) for it in (accept or "*/*").split(",")]
        weights = {
            offer: max((it.weight for it in ranges if it.covers(parse_range(offer))), default=0.0)
            for offer in OFFERS
        }
        best = max(weights, key=lambda offer: weights[offer])
        if not weights[best]:
            raise NotAcceptable(406)
        return best


class SplitsAtCommas(Negotiation):
    """A wrong twin: quoted values hold no commas, it hopes."""

    def choose(self, accept: str | None) -> str:
        return super().choose(accept.replace('"', "") if accept else None)


class TrustsWeights(Negotiation):
    """A wrong twin: a weight that cannot be read is a weight of 1."""

    def choose(self, accept: str | None) -> str:
        return super().choose(accept.replace("q=2", "q=1").replace("q=-1", "q=1") if accept else None)


@pytest.mark.parametrize("twin", [HeaviestRangeFirst, HeaviestCoverDecides, SplitsAtCommas, TrustsWeights])
def test_wrong_twins_are_rejected(twin: Any) -> None:
    def agrees(accept: str | None, expected: str | None) -> bool:
        try:
            return outcome(twin, accept) == expected
        except ValueError:
            return False

    assert not all(agrees(*case) for case in CASES)


def test_a_refusal_says_what_there_is_and_repeats_nothing() -> None:
    formats = Negotiation(JSON, CSV)
    with pytest.raises(NotAcceptable) as caught:
        formats.choose("text/hunter2")
    assert (caught.value.status_code, caught.value.headers) == (406, {"Vary": "Accept"})
    assert caught.value.detail == "Available as application/json or text/csv."
    assert [formats.choose(it) for it in (None, CSV, "*/*")] == [JSON, CSV, JSON]
    assert (formats.chosen, formats.refused) == ({JSON: 2, CSV: 1}, 1)


@pytest.mark.parametrize("offers", [(), ("json",), ("text/*",), ("*/*",), ("",)])
def test_offers_must_be_media_types(offers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="media"):
        Negotiation(*offers)


@pytest.mark.parametrize("piece", ['"', "\\", '"\\', ",", ";", "a/b;", '";,"', "q=0.", 'a/b;c="d', "*/*,"])
def test_no_header_takes_long(piece: str) -> None:
    """64 KiB is what servers let through. A pattern that backtracks would need hours."""
    started_s = time.perf_counter()
    outcome(Negotiation, piece * (65_536 // len(piece)))
    outcome(Negotiation, "text/csv;" + piece * (65_536 // len(piece)))
    assert time.perf_counter() - started_s < 10


FORMATS = Negotiation(JSON, CSV)


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def read(media_type: Annotated[str, Depends(FORMATS)]) -> str:
        return media_type

    return app


def get(app: Any, *accept: str) -> tuple[int, dict[str, str], bytes]:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"accept", value.encode()) for value in accept],
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
    }
    sent: list[Any] = []
    incoming = itertools.chain([{"type": "http.request"}], itertools.repeat({"type": "http.disconnect"}))

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    head = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], head, b"".join(message.get("body", b"") for message in sent[1:])


def test_a_fastapi_route_gets_the_choice_and_caches_are_told_what_it_depends_on() -> None:
    app = make_app()
    for accept, status, body in (
        ((), 200, b'"application/json"'),
        (("text/csv",), 200, b'"text/csv"'),
        (("application/json;q=0.1", "text/csv"), 200, b'"text/csv"'),
        (("text/html",), 406, b'{"detail":"Available as application/json or text/csv."}'),
    ):
        reply = get(app, *accept)
        assert (reply[0], reply[1]["vary"], reply[2]) == (status, "Accept", body)


def test_a_range_weighs_one_unless_it_says_less() -> None:
    assert MediaRange("text", "csv", frozenset()).weight == 1.0
    assert [parse_range(it).weight for it in ("text/csv", "text/csv;q=0.25", "text/csv;q=0")] == [
        1.0,
        0.25,
        0.0,
    ]


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[Negotiation.__module__]).failed == 0
