"""Real servers for the gates. The explorer itself does not know where they come from."""

import sys
from pathlib import Path

import pytest
from deskbook.services import fresh_database, fresh_redis

# The cases (`corpus`) and the canaries are imported by several files here, and by bench_races.py.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def postgres_url():
    with fresh_database() as url:
        yield url


@pytest.fixture(scope="session")
def redis_url():
    with fresh_redis() as url:
        yield url
