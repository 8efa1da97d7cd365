"""Identical requests are interchangeable: run one order of each group of twins, judge all of them.

If requests A and B are the same bytes (or the same function), the application cannot tell them apart. A run
in which the two swap places is then the same run with the names swapped: same steps, same state, responses
swapped. So of several identical requests that have not started yet, only the first may start. Every skipped
schedule is a renaming of one that is run, and each run stands for exactly `factor` schedules, since the order
in which identical requests start is a permutation and each of them is skipped but one.

What is judged is not symmetric by itself: an invariant may say `responses["A"]`. It is therefore called once
for every way to hand the responses of a group to its names. (It must only read, as every invariant must.) A
failure found under swapped names is reported with the schedule swapped the same way, which replays as itself.

A request that may be cancelled is not in a group: being cancelled makes it different. Source: symmetry
reduction in model checking (Ip & Dill, "Better Verification Through Symmetry", 1996).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deskbook.races._story.outcome import frozen
from deskbook.races._subject.http_request import Request


def groups_of_twins(requests: Mapping[str, Any], distinct: Sequence[str] = ()) -> tuple[tuple[str, ...], ...]:
    """Return the groups of two and more identical requests, in the order of their names in `requests`.

    Args:
        requests: Name -> request or function.
        distinct: Names that differ for another reason, such as being cancelled.
    """
    groups: dict[Any, list[str]] = {}
    for name, request in requests.items():
        if name not in distinct:
            groups.setdefault(_identity(request), []).append(name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)


def _identity(request: Any) -> Any:
    if isinstance(request, Request):
        encoded = request.encoded
        body, headers = encoded.content, tuple(encoded.headers.raw)
        return (encoded.method, str(encoded.url), headers, body, request.leave_after)
    return id(request)


def factor(groups: Sequence[Sequence[str]]) -> int:
    """Return how many schedules one run stands for."""
    return math.prod(math.factorial(len(names)) for names in groups)


def renamings(groups: Sequence[Sequence[str]], responses: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield the ways to rename twins that change what a name was answered, the unchanged one first."""
    yield {}
    seen = {tuple(frozen(value) for value in responses.values())}
    for orders in itertools.product(*(itertools.permutations(names) for names in groups)):
        renaming = {
            old: new
            for names, order in zip(groups, orders, strict=True)
            for old, new in zip(names, order, strict=True)
        }
        swapped = renamed(responses, renaming)
        key = tuple(frozen(value) for value in swapped.values())
        if key not in seen:
            seen.add(key)
            yield renaming


def renamed(responses: Mapping[str, Any], renaming: Mapping[str, str]) -> dict[str, Any]:
    """Return the responses under their new names, in the old order of names."""
    by_name = {renaming.get(name, name): value for name, value in responses.items()}
    return {name: by_name[name] for name in responses if name in by_name}
