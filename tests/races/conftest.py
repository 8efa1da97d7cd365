"""Real servers for the gates. The explorer itself does not know where they come from."""

import pytest
from deskbook.services import fresh_database, fresh_redis


@pytest.fixture(scope="session")
def postgres_url():
    with fresh_database() as url:
        yield url


@pytest.fixture(scope="session")
def redis_url():
    with fresh_redis() as url:
        yield url
