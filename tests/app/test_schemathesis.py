"""The whole API against its own OpenAPI document: what it accepts, refuses and answers is what it says."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import schemathesis
from deskbook.running import TOKEN_SECRET, USER
from deskbook.services import fresh_redis
from deskbook.serving import serving_app
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import GenerationMode

from reference_app.identity.service import OPERATOR_SCOPES, SCOPES
from reference_app.identity.tokens import Tokens

#: Cases of each kind for an operation: with some thirty of these 200 in `make test`, 2,000 in `make prove`.
FEW, MANY = 3, 33

#: A cursor, a version or a file that fits its schema may still be none of ours: 400, 412, 422 and 428 are
#: answers to well-formed requests here, and each is documented where it can come.
CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {
            "positive_data_acceptance": {
                "expected-statuses": ["2xx", "400", "401", "403", "404", "409", "412", "422", "428"]
            }
        }
    }
)

NO_LIMITS = {"DESK_RATE_LIMIT": "10000000", "DESK_TOKEN_SECRET": TOKEN_SECRET}


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[tuple[Any, dict[str, str]]]:
    """Serve the app behind a real uvicorn; give its schema and the headers of one who may do everything."""
    async with fresh_redis() as redis, serving_app(settings={"REDIS_URL": redis, **NO_LIMITS}) as server:
        connection = await asyncpg.connect(server.settings["DATABASE_URL"])
        user_id = await connection.fetchval("SELECT id FROM users WHERE name = $1", USER)
        await connection.close()
        token = Tokens(TOKEN_SECRET, ttl_s=86_400).issue(user_id, {**SCOPES, **OPERATOR_SCOPES})
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=CONFIG)
        yield schema, {"Authorization": f"Bearer {token}"}


def run(api: tuple[Any, dict[str, str]], max_examples: int) -> int:
    """Try every operation, and return how many cases there were; what fails is raised together."""
    schema, headers = api
    cases, failures = 0, []
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation, mode in itertools.product(operations, GenerationMode):

        @settings(
            max_examples=max_examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def attempt(case: Any) -> None:
            nonlocal cases
            cases += 1
            case.call_and_validate(headers=headers)

        try:
            attempt()
        except Unsatisfiable:
            pass  # such as a request that cannot be wrong, because it has no parameters
        except Exception as error:
            failures.append(error)
    if failures:
        raise ExceptionGroup("the API is not what its document says", failures)
    return cases


def test_two_hundred_cases(api: tuple[Any, dict[str, str]]) -> None:
    assert run(api, FEW) >= 150


@pytest.mark.prove
def test_two_thousand_cases(api: tuple[Any, dict[str, str]]) -> None:
    assert run(api, MANY) >= 1500


@pytest.mark.prove
def test_chains_of_requests_that_use_what_came_back(api: tuple[Any, dict[str, str]]) -> None:
    schema, headers = api
    machine = schema.as_state_machine()

    class Desk(machine):  # type: ignore[misc, valid-type]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": headers}

    run_state_machine_as_test(
        Desk,
        settings=settings(
            max_examples=100,
            stateful_step_count=6,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
