"""What a case is: its truth, how to make its subject, the requests, the rule, and the reason.

Every truth is written from what the code means, not from what the explorer says about it.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

WRONG, RIGHT = "wrong", "right"


@dataclass
class Case:
    name: str
    truth: str
    reason: str
    make: Any
    requests: dict
    check: Any
    options: dict = field(default_factory=dict)


def collector(cases):
    """Return the decorator that adds a case to a list; without `requests` the function runs as A and as B."""

    def case(truth, reason, *, make, check, requests=None, **options):
        def register(function):
            both = requests or {"A": function, "B": function}
            cases.append(Case(function.__name__, truth, reason, make, both, check, options))
            return function

        return register

    return case


async def io():
    """Stand for a round trip: others run meanwhile."""
    await asyncio.sleep(0)


class Store:
    """A database in memory: each call is one round trip and atomic."""

    def __init__(self, **values):
        self.values = values

    async def get(self, key):
        await io()
        return self.values.get(key)

    async def set(self, key, value):
        await io()
        self.values[key] = value

    async def take(self, key, amount):
        await io()
        if self.values[key] < amount:
            return False
        self.values[key] -= amount
        return True

    async def compare_and_set(self, key, old, new):
        await io()
        if self.values[key] != old:
            return False
        self.values[key] = new
        return True

    async def insert(self, key, value):
        await io()
        if key in self.values:
            return False
        self.values[key] = value
        return True
