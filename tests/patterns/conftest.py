"""The servers of the travelling tests: elsewhere their reader names them, in this suite they are our own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from deskbook.services import fresh_database, fresh_redis


@pytest.fixture(scope="module", autouse=True)
def servers_in_the_environment(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set DATABASE_URL and REDIS_URL for the test files that read them, to databases of the file's own."""
    source = inspect.getsource(request.module)
    with ExitStack() as stack:
        addresses = {
            name: stack.enter_context(fresh())
            for name, fresh in (("DATABASE_URL", fresh_database), ("REDIS_URL", fresh_redis))
            if name in source
        }
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        for name, address in addresses.items():
            environment.setenv(name, address)
        yield
