# /// script
# requires-python = ">=3.11"
# dependencies = ["fastapi>=0.128"]
# ///
"""Choose the representation that the client's Accept header asks for, or answer 406.

Use it where one resource has several representations: JSON and JSON Lines, CSV for a spreadsheet, a version
in the media type. By RFC 9110 the most specific range decides about each offer ("text/*, text/csv;q=0" takes
any text but CSV), and only then the highest weight wins.

Do not use it for an API with one representation: there JSON for everybody is friendlier than 406.

Limits: media types only, no languages or encodings. What is sent is UTF-8: `charset=utf-8` asks for nothing
else, and any other charset for what there is not. A range that cannot be read is left out; if none is left,
the header counts as absent. It adds `Vary: Accept`, without which a cache serves CSV to those who want JSON;
where the endpoint returns a Response itself, add `Vary` there. Problems (RFC 9457) are not negotiated.

Instead: `MIMEAccept.best_match` of werkzeug does the same, except that a range without parameters matches no
offer that has some. `content-negotiation` (2.0) and `httpcneg` (0.1) ask which range weighs most and send
what fits it: with the header above, CSV.

Example:
    >>> formats = Negotiation("application/json", "text/csv", "application/jsonl")
    >>> formats.choose("application/*;q=0.5, text/csv;q=0.8")
    'text/csv'
    >>> formats.choose("application/*, application/json;q=0.1")
    'application/jsonl'
    >>> formats.choose(None), formats.choose("*/*")
    ('application/json', 'application/json')
    >>> formats.chosen
    {'application/json': 2, 'text/csv': 1, 'application/jsonl': 1}

Source: RFC 9110 sections 12.4, 12.5.1, 12.5.5 (Vary) and 15.5.7 (406).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.exceptions import HTTPException

_QUOTED = r'"(?:[^"\\]|\\.)*"?'
#: Between commas, and between semicolons, which may both stand in a quoted value.
_MEMBER = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_PART = re.compile(rf'(?:[^;"]|{_QUOTED})+')
_TYPE = re.compile(r"([\w!#$&^.+-]+)/(\*|[\w!#$&^.+-]+)|\*/\*", re.ASCII)
#: What Starlette adds to the type of a text: a client may ask for exactly what it got.
_AS_SENT = {("charset", "utf-8")}
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


class NotAcceptable(HTTPException):
    """406: the client takes none of the representations that there are."""


@dataclass(frozen=True)
class MediaRange:
    """One member of Accept, or an offer.

    Attributes:
        type: In lower case; "*" for any.
        subtype: In lower case; "*" for any.
        parameters: Names and values in lower case, without the weight.
        weight: From 0 (not at all) to 1.
    """

    type: str
    subtype: str
    parameters: frozenset[tuple[str, str]]
    weight: float = 1.0

    @property
    def specificity(self) -> tuple[bool, bool, int]:
        """How narrow it is: of two that cover an offer, the narrower one decides."""
        return self.type != "*", self.subtype != "*", len(self.parameters)

    def covers(self, offer: MediaRange) -> bool:
        """Tell whether an offer is of this range; it may have more parameters."""
        same_type = self.type in ("*", offer.type) and self.subtype in ("*", offer.subtype)
        return same_type and self.parameters - _AS_SENT <= offer.parameters


def parse_range(text: str) -> MediaRange:
    """Return the media range in the text.

    Raises:
        ValueError: It is none, or its weight is none.
    """
    name, *parts = _PART.findall(text.lower()) or [""]
    if _TYPE.fullmatch(name.strip(" \t")) is None:
        raise ValueError("expected a media range such as text/csv, text/* or */*")
    parameters = set()
    weight = "1"
    for part in filter(str.strip, parts):
        key, _, value = (it.strip(" \t") for it in part.partition("="))
        if key == "q":
            weight = value
            break  # what follows the weight belongs to no media type
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        parameters.add((key, value))
    if _WEIGHT.fullmatch(weight) is None:
        raise ValueError("expected a weight from 0 to 1 with at most three decimals")
    type_, _, subtype = name.strip(" \t").partition("/")
    return MediaRange(type_, subtype, frozenset(parameters), float(weight))


class Negotiation:
    """The representations of a resource; a FastAPI dependency that gives the one to send.

    Args:
        offers: Media types, the server's favourite first; it is sent to those who take anything.

    Attributes:
        chosen: How often each offer was sent.
        refused: How often none was acceptable.

    Raises:
        ValueError: There is no offer, or one is not a media type.
    """

    def __init__(self, *offers: str) -> None:
        self._offers = {offer: parse_range(offer) for offer in offers}
        if not offers or any("*" in (it.type, it.subtype) for it in self._offers.values()):
            raise ValueError("offer media types such as application/json, without *")
        self.chosen = dict.fromkeys(offers, 0)
        self.refused = 0

    async def __call__(self, request: Request, response: Response) -> str:
        """Return the media type to send, as the value of `Annotated[str, Depends(formats)]`."""
        response.headers.add_vary_header("Accept")
        return self.choose(", ".join(request.headers.getlist("accept")))

    def choose(self, accept: str | None) -> str:
        """Return the offer that an Accept header asks for.

        Raises:
            NotAcceptable: It wants none of them.
        """
        ranges = []
        for member in _MEMBER.findall(accept or ""):
            with suppress(ValueError):
                ranges.append(parse_range(member))
        weights = {offer: _weight(ranges, parsed) for offer, parsed in self._offers.items()}
        best = max(weights, key=lambda offer: weights[offer])  # the first of those that weigh the same
        if not weights[best]:
            self.refused += 1
            raise NotAcceptable(406, f"Available as {' or '.join(weights)}.", {"Vary": "Accept"})
        self.chosen[best] += 1
        return best


def _weight(ranges: list[MediaRange], offer: MediaRange) -> float:
    """Return the weight that the narrowest range gives to an offer; all are welcome where none is named."""
    covering = [(it.specificity, it.weight) for it in ranges if it.covers(offer)]
    return max(covering)[1] if covering else float(not ranges)
