"""Values that differ from run to run whatever the order is: ids, tokens, times.

The rule `serializable` compares answers. An answer that holds a random id or a stamp is another one in every
run, so it is never equal to that of a sequential order, and every service that hands out ids would be wrong.
Such values are found by making one sequential run again: where it says something else, the order cannot be
the reason. What looks like an id, a token or a time is from then on compared by equality alone: two answers
with one and the same id are still another outcome than two answers with different ones.

What differs and looks like neither is not explained away: a balance that is another one the second time was
most likely left over from the first.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import httpx

from deskbook.races._story.outcome import default_state, frozen, frozen_response
from deskbook.races._story.run_result import RunResult

#: Where a value stands in an outcome: ("A", "body", "id"). Items of a list share the place "*".
Place = tuple[str, ...]

_LISTED = "*"

#: What may be random in a longer text, such as a cookie: letters and digits without a break.
_TOKEN = re.compile(r"[A-Za-z0-9_+/=.:-]{6,}")
_TIME_TEXT = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?"
    r"|(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"
)
_NUMBERED = re.compile(r"\D*\d{1,9}\D*")
_ID_NAME = re.compile(r"(?:.*_)?(?:id|no|nr|number|seq)|.*I[dD]")

#: A number within so many seconds of now is taken for a time.
_NEAR_S = 400 * 24 * 3600.0


class Difference(NamedTuple):
    """One value that was another one the second time.

    Attributes:
        place: Where it stands.
        kind: "random", "time" or "id" for what may differ, "kept" for what should not.
        first: The value in the first run, as text.
        second: The value in the second run, as text.
    """

    place: Place
    kind: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{place_text(self.place)} ({self.first}, then {self.second})"


def place_text(place: Place) -> str:
    """Return a place as people read it: `A: body.items.*.id`."""
    return f"{place[0]}: {'.'.join(place[1:])}" if len(place) > 1 else place[0]


def tree_of(result: RunResult, *, observed: bool) -> dict[str, Any]:
    """Return a result as plain data whose places have names.

    Args:
        result: The answers and the state.
        observed: Whether the caller says what the state is.
    """
    tree: dict[str, Any] = {name: _answer(value) for name, value in result.responses.items()}
    tree["state"] = _plain(result.state if observed else default_state(result.app))
    return tree


def _answer(value: Any) -> Any:
    if not isinstance(value, httpx.Response):
        return _plain(value)
    _, status, content, headers = frozen_response(value)
    body: Any = content.decode("utf-8", "replace")
    if "json" in value.headers.get("content-type", ""):
        with contextlib.suppress(ValueError):
            body = json.loads(content)
    named: dict[str, list[str]] = {}
    for name, text in headers:
        named.setdefault(name, []).append(text)
    return {"status": f"status {status}", "headers": named, "body": body}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, httpx.Response):
        return _answer(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return frozen(value)


def differences(first: Any, second: Any, place: Place = ()) -> Iterator[Difference]:
    """Yield where two trees differ."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        yield from _differences_of_mappings(first, second, place)
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for one, other in zip(first, second, strict=True):
            yield from differences(one, other, (*place, _LISTED))
    elif first != second:
        yield Difference(place, _kind(first, second, place), _shown(first), _shown(second))


def _differences_of_mappings(
    first: Mapping[str, Any], second: Mapping[str, Any], place: Place
) -> Iterator[Difference]:
    if first.keys() == second.keys():
        for key in first:
            yield from differences(first[key], second[key], (*place, key))
        return
    gone, new = sorted(first.keys() - second.keys()), sorted(second.keys() - first.keys())
    same_number = len(gone) == len(new)
    are_random = same_number and all(
        _kind(one, other, place) in ("random", "time") for one, other in zip(gone, new, strict=True)
    )
    yield Difference(place, "random" if are_random else "kept", _shown(list(first)), _shown(list(second)))


def _kind(first: Any, second: Any, place: Place) -> str:
    if isinstance(first, str) and isinstance(second, str):
        return _kind_of_texts(first, second)
    numbers = (int, float)
    if isinstance(first, bool) or isinstance(second, bool):
        return "kept"
    if isinstance(first, numbers) and isinstance(second, numbers):
        if _is_time(first) and _is_time(second):
            return "time"
        return "id" if place and _ID_NAME.fullmatch(place[-1]) else "kept"
    return "kept"


def _kind_of_texts(first: str, second: str) -> str:
    if _TIME_TEXT.fullmatch(first) and _TIME_TEXT.fullmatch(second):
        return "time"
    if _NUMBERED.fullmatch(first) and _NUMBERED.fullmatch(second):
        return "kept"  # `order-17` and `order-18` count something
    without = [_TIME_TEXT.sub("", text) for text in (first, second)]
    if without[0] == without[1]:
        return "time"
    parts = [_TOKEN.split(text) for text in without]
    tokens = [_TOKEN.findall(text) for text in without]
    if parts[0] != parts[1]:
        return "kept"
    differing = [pair for pair in zip(*tokens, strict=True) if pair[0] != pair[1]]
    return "random" if all(map(_looks_random, *zip(*differing, strict=True))) else "kept"


def _looks_random(first: str, second: str) -> bool:
    """Tell whether two texts that differ are drawn at random, as opposed to two words of the service."""
    if _NUMBERED.fullmatch(first) and _NUMBERED.fullmatch(second):
        return False
    return _may_be_random(first) and _may_be_random(second)


def _may_be_random(text: str) -> bool:
    has_both_cases = text != text.lower() and text != text.upper()
    return any(letter.isdigit() for letter in text) or (has_both_cases and len(text) > 10)


def _is_time(value: float) -> bool:
    now = time.time()
    return any(abs(value / unit - now) < _NEAR_S for unit in (1, 1_000, 1_000_000, 1_000_000_000))


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


class Variation:
    """What is compared by equality alone.

    Attributes:
        places: Where values differ whatever the order is, and whether they are "random", a "time" or an "id".
    """

    def __init__(self) -> None:
        self.places: dict[Place, str] = {}

    def __bool__(self) -> bool:
        return bool(self.places)

    def compared(self, result: RunResult, names: Sequence[str], *, observed: bool) -> Any:
        """Return a result in comparable form, with labels in place of what varies.

        Args:
            result: The answers and the state.
            names: The requests whose answers are compared, in the order of the labels.
            observed: Whether the caller says what the state is.
        """
        tree = tree_of(result, observed=observed)
        labels: dict[str, str] = {}
        return tuple(
            (name, self._labelled(tree[name], (name,), labels)) for name in (*names, "state") if name in tree
        )

    def _labelled(self, value: Any, place: Place, labels: dict[str, str] | None) -> Any:
        kind = self.places.get(place)
        if isinstance(value, Mapping):
            if kind is not None:
                # Its keys are random, so nothing in it has a place of its own, nor an order.
                items = (self._labelled(item, (*place, key), None) for key, item in value.items())
                return ("mapping", *sorted(items, key=repr))
            return (
                "mapping",
                *((key, self._labelled(value[key], (*place, key), labels)) for key in sorted(value)),
            )
        if isinstance(value, list):
            return tuple(self._labelled(item, (*place, _LISTED), labels) for item in value)
        if kind is None:
            return value
        if kind == "time":
            # Whether two stamps are equal is decided by the machine's speed.
            return _TIME_TEXT.sub("a time", value) if isinstance(value, str) else "a time"
        if labels is None:
            return _LISTED
        if isinstance(value, str):
            return _TOKEN.sub(lambda match: _label(match[0], labels), _TIME_TEXT.sub("a time", value))
        return labels.setdefault(repr(value), f"value {len(labels) + 1}")


def _label(token: str, labels: dict[str, str]) -> str:
    """Return the label of a token, or the token itself where it is a word of the service."""
    return labels.setdefault(token, f"value {len(labels) + 1}") if _may_be_random(token) else token
