"""RFC 9110 section 13, line by line. Requests go straight to the check, and once through a FastAPI app."""

from __future__ import annotations

import asyncio
import datetime as dt
import doctest
import itertools
import sys
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request, Response
from starlette.exceptions import HTTPException

from reference_app.patterns.conditional_request import (
    _TAG,
    NotModified,
    PreconditionFailed,
    PreconditionRequired,
    Preconditions,
    Validators,
    etag,
)

WHEN = dt.datetime(2026, 11, 20, 12, 0, 0, 999_999, tzinfo=dt.timezone(dt.timedelta(hours=1)))
AT, EARLIER, LATER = (f"Fri, 20 Nov 2026 {time} GMT" for time in ("11:00:00", "10:59:59", "11:00:01"))
NOW = Validators('"now"', WHEN)
NO_DATE = Validators('"now"')
WEAK = Validators('W/"now"', WHEN)
NOTHING = None

Case = tuple[str, Any, dict[str, str], int]
READS: list[Case] = [
    ("GET", NOW, {}, 200),
    ("GET", NOW, {"if-none-match": '"now"'}, 304),
    ("HEAD", NOW, {"if-none-match": '"now"'}, 304),
    ("GET", NOW, {"if-none-match": 'W/"now"'}, 304),
    ("GET", WEAK, {"if-none-match": '"now"'}, 304),
    ("GET", NOW, {"if-none-match": '"old"'}, 200),
    ("GET", NOW, {"if-none-match": '"old", , W/"now" ,"older"'}, 304),
    ("GET", NOW, {"if-none-match": "*"}, 304),
    ("GET", NOTHING, {"if-none-match": "*"}, 200),
    ("GET", Validators('"a,b"'), {"if-none-match": '"x", "a,b"'}, 304),
    ("GET", Validators('"a"'), {"if-none-match": '"x,"a","y"'}, 400),
    ("GET", NOW, {"if-modified-since": AT}, 304),
    ("GET", NOW, {"if-modified-since": LATER}, 304),
    ("GET", NOW, {"if-modified-since": EARLIER}, 200),
    ("GET", NO_DATE, {"if-modified-since": AT}, 200),
    # The tag decides, and the date is not looked at: the clock of a cache is worth less than a version.
    ("GET", NOW, {"if-none-match": '"old"', "if-modified-since": LATER}, 200),
    ("GET", NOW, {"if-none-match": '"now"', "if-modified-since": EARLIER}, 304),
    # The two obsolete forms of a date, and what is none.
    ("GET", NOW, {"if-modified-since": "Friday, 20-Nov-26 11:00:00 GMT"}, 304),
    ("GET", NOW, {"if-modified-since": "Fri Nov 20 11:00:00 2026"}, 304),
    ("GET", NOW, {"if-modified-since": "yesterday"}, 200),
    ("GET", NOW, {"if-modified-since": "Fri, 99 Nov 2026 11:00:00 GMT"}, 200),
    ("GET", NOW, {"if-match": '"now"'}, 200),
    ("GET", NOW, {"if-match": '"old"', "if-none-match": '"now"'}, 412),
    ("GET", NOW, {"if-match": '"now"', "if-none-match": '"now"'}, 304),
]
WRITES: list[Case] = [
    ("PUT", NOW, {"if-match": '"now"'}, 200),
    ("PATCH", NOW, {"if-match": '"old", "now"'}, 200),
    ("DELETE", NOW, {"if-match": "*"}, 200),
    ("PUT", NOTHING, {"if-match": "*"}, 412),
    ("PUT", NOTHING, {"if-match": '"now"'}, 412),
    ("PUT", NOW, {"if-match": '"old"'}, 412),
    ("PUT", NOW, {"if-match": 'W/"now"'}, 412),
    ("PUT", WEAK, {"if-match": 'W/"now"'}, 412),
    ("PUT", WEAK, {"if-match": '"now"'}, 412),
    ("PUT", NOW, {"if-match": '"now"', "if-unmodified-since": EARLIER}, 200),
    ("PUT", NOW, {"if-unmodified-since": AT}, 200),
    ("PUT", NOW, {"if-unmodified-since": EARLIER}, 412),
    ("PUT", NOW, {"if-unmodified-since": EARLIER, "if-none-match": '"old"'}, 412),
    ("PUT", NOTHING, {"if-none-match": "*"}, 200),
    ("PUT", NOW, {"if-none-match": "*"}, 412),
    ("PUT", NOW, {"if-none-match": '"now"'}, 412),
    ("PUT", NOW, {"if-none-match": '"old"'}, 428),  # which it is not: another one's change would be lost
    ("PUT", NOW, {"if-match": '"now"', "if-none-match": '"now"'}, 412),
    ("PUT", NOW, {"if-modified-since": AT, "if-match": '"now"'}, 200),
    ("PUT", NOW, {}, 428),
    ("DELETE", NOW, {"if-modified-since": AT}, 428),
    ("PUT", NOW, {"if-unmodified-since": "yesterday"}, 428),
    ("PUT", NO_DATE, {"if-unmodified-since": AT}, 428),
    ("PUT", NOTHING, {}, 200),
    ("PUT", NOW, {"if-match": "now"}, 400),
    ("PUT", NOW, {"if-match": '"now'}, 400),
    ("PUT", NOW, {"if-match": ","}, 412),
    ("PUT", NOW, {"if-match": ""}, 412),  # not as if it had not been sent: that would overwrite
    ("GET", NOW, {"if-none-match": ""}, 200),
    ("PUT", NOW, {"if-none-match": 'w/"now"'}, 400),
]


def request(method: str, headers: list[tuple[str, str]]) -> Request:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": method, "headers": raw})


def outcome(kind: Any, case: Case) -> int:
    method, current, headers, _ = case
    try:
        kind(request(method, list(headers.items()))).check(current, required=True)
    except HTTPException as error:
        return error.status_code
    return 200


@pytest.mark.parametrize("case", READS + WRITES, ids=lambda it: f"{it[0]} {it[2]} {it[3]}")
def test_preconditions_are_evaluated_by_the_book(case: Case) -> None:
    assert outcome(Preconditions, case) == case[3]


@pytest.mark.parametrize("value", ["", " ", ",", " , ,\t"])
def test_an_empty_list_is_a_list_that_names_no_version(value: str) -> None:
    """RFC 9110 section 5.6.1: a recipient must take empty elements, and a list of them."""
    Preconditions(request("GET", [("if-none-match", value)])).check(NOW)
    Preconditions(request("PUT", [("if-none-match", value)])).check(NOW)
    with pytest.raises(PreconditionRequired):
        Preconditions(request("PUT", [("if-none-match", value)])).check(NOW, required=True)
    with pytest.raises(PreconditionFailed):
        Preconditions(request("PUT", [("if-match", value)])).check(NOW)
    with pytest.raises(NotModified):
        Preconditions(request("GET", [("if-none-match", value), ("if-none-match", NOW.etag)])).check(NOW)


def test_without_required_a_change_needs_no_version() -> None:
    Preconditions(request("PUT", [])).check(NOW)


def test_fields_that_are_sent_twice_are_one_list_and_dates_are_ignored() -> None:
    tags = [("if-none-match", '"old"'), ("if-none-match", '"now"')]
    with pytest.raises(NotModified):
        Preconditions(request("GET", tags)).check(NOW)
    Preconditions(request("GET", [("if-modified-since", AT), ("if-modified-since", AT)])).check(NOW)


class ComparesWeakly(Preconditions):
    """A wrong twin: one comparison for all headers."""

    def _tags(self, name: str) -> Any:
        tags = super()._tags(name)
        return [tag.removeprefix("W/") for tag in tags] if tags and name == "if-match" else tags


class SplitsAtCommas(Preconditions):
    """A wrong twin: as most hand-written code reads the list."""

    def _tags(self, name: str) -> Any:
        value = self._headers.get(name)
        return [tag.strip() for tag in value.split(",")] if value else None


class LooksAtTheDateToo(Preconditions):
    """A wrong twin: it answers 304 where either of the two says so."""

    def check(self, current: Any, **options: Any) -> None:
        super().check(current, **options)
        since = self._date("if-modified-since")
        if (
            self._is_read
            and since
            and current.last_modified
            and current.last_modified.replace(microsecond=0) <= since
        ):
            raise NotModified(304)


class ComparesMicroseconds(Preconditions):
    """A wrong twin: a time with microseconds is always later than the whole second that was sent."""

    def _date(self, name: str) -> Any:
        date = super()._date(name)
        return date - dt.timedelta(microseconds=1) if date else None


class ForgetsWhereNothingIs(Preconditions):
    """A wrong twin: what does not exist has no version to disagree about."""

    def check(self, current: Any, **options: Any) -> None:
        if current is not None:
            super().check(current, **options)


@pytest.mark.parametrize(
    "twin",
    [ComparesWeakly, SplitsAtCommas, LooksAtTheDateToo, ComparesMicroseconds, ForgetsWhereNothingIs],
)
def test_wrong_twins_are_rejected(twin: Any) -> None:
    assert any(outcome(twin, case) != case[3] for case in READS + WRITES)


def test_entity_tags_are_strong_and_tell_their_parts_apart() -> None:
    parts = [("a", 1), ("a", 2), ("a1",), ("a", "1", ""), ("a\n", 1), ("", "a1"), ("1 a",)]
    tags = [etag(*it) for it in parts]
    assert etag("a", 1) == etag("a", "1") == etag(b"a", 1) == tags[0]
    assert len(set(tags)) == len(tags)
    for tag in tags:
        assert _TAG.fullmatch(tag)
        assert not tag.startswith("W/")


def test_validators_go_out_as_they_come_back() -> None:
    headers = NOW.headers()
    assert headers == {"ETag": '"now"', "Last-Modified": AT}
    assert parsedate_to_datetime(headers["Last-Modified"]) == WHEN.replace(microsecond=0)
    assert NO_DATE.headers() == {"ETag": '"now"'}


def make_app() -> FastAPI:
    app = FastAPI()
    app.state.note = "first"

    def current() -> Any:
        return Validators(etag("note", app.state.note))

    @app.get("/note")
    async def read(
        response: Response, preconditions: Annotated[Preconditions, Depends(Preconditions)]
    ) -> str:
        caching = {"Cache-Control": "private, no-cache", "Vary": "Accept"}
        preconditions.check(current(), headers=caching)
        response.headers.update(caching | current().headers())
        return str(app.state.note)

    @app.put("/note")
    async def write(text: str, preconditions: Annotated[Preconditions, Depends(Preconditions)]) -> str:
        preconditions.check(current(), required=True)
        app.state.note = text
        return text

    return app


def ask(app: Any, method: str, query: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": "/note",
        "raw_path": b"/note",
        "query_string": query.encode(),
        "root_path": "",
        "headers": raw,
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


def test_two_people_edit_one_note_through_fastapi() -> None:
    app = make_app()
    status, headers, body = ask(app, "GET")
    assert (status, body) == (200, b'"first"')
    seen = headers["etag"]
    status, headers, body = ask(app, "GET", if_none_match=seen)
    assert (status, body) == (304, b"")
    assert (headers["etag"], headers["cache-control"], headers["vary"]) == (
        seen,
        "private, no-cache",
        "Accept",
    )
    assert "content-length" not in headers
    assert ask(app, "PUT", "text=mine")[0] == 428
    assert ask(app, "PUT", "text=mine", if_match=seen)[0] == 200
    status, _, body = ask(app, "PUT", "text=theirs", if_match=seen)
    assert (status, app.state.note) == (412, "mine")
    assert b"read it" in body
    assert ask(app, "GET", if_none_match=seen)[::2] == (200, b'"mine"')


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_where_nothing_is_there_is_nothing_to_be_equal_to(method: str) -> None:
    Preconditions(request(method, [("if-none-match", "*")])).check(None)
    with pytest.raises(PreconditionFailed):
        Preconditions(request(method, [("if-match", "*")])).check(None)
    Preconditions(request("GET", [("if-none-match", "*")])).check(None)


def test_a_date_keeps_its_zone() -> None:
    fields = [("if-modified-since", "Fri, 20 Nov 2026 12:00:00 +0200")]
    changed = Validators('"a"', dt.datetime(2026, 11, 20, 11, tzinfo=dt.UTC))
    Preconditions(request("GET", fields)).check(changed)  # an hour after ten in UTC
    with pytest.raises(NotModified):
        Preconditions(request("GET", fields)).check(
            Validators('"a"', changed.last_modified - dt.timedelta(hours=2))
        )  # type: ignore[operator]


def test_a_tag_is_short_enough_for_a_header_and_long_enough_to_be_unique() -> None:
    assert len(etag("note", 7, 3)) == 22


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(sys.modules[Preconditions.__module__]).failed == 0
