"""The whole API against its own OpenAPI document: what it accepts, refuses and answers is what it says."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import asyncpg
import httpx
import pytest
import schemathesis
from deskbook.desk.database import TOKEN_SECRET, USER
from deskbook.services import fresh_redis
from deskbook.serving import serving_app
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import GenerationMode

from reference_app.identity.tokens import Tokens
from reference_app.nouns import OPERATOR_SCOPES, SCOPES

#: Cases of each kind for an operation: with some thirty of these 200 in `make test`, 2,000 in `make prove`.
FEW, MANY = 3, 33
#: How many chains, and how many requests in each: a quarter of all cases.
SHORT_CHAINS, LONG_CHAINS = (12, 4), (120, 6)

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


class Api(NamedTuple):
    """What is tried, as whom, and with whose money."""

    schema: Any
    headers: dict[str, str]
    account: str


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[Api]:
    """Serve the app behind a real uvicorn; give its schema, a user who may do everything, and an account."""
    async with fresh_redis() as redis, serving_app(settings={"REDIS_URL": redis, **NO_LIMITS}) as server:
        connection = await asyncpg.connect(server.settings["DATABASE_URL"])
        user_id = await connection.fetchval("SELECT id FROM users WHERE name = $1", USER)
        await connection.close()
        token = Tokens(TOKEN_SECRET, ttl_s=86_400).issue(user_id, {**SCOPES, **OPERATOR_SCOPES})
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", config=CONFIG)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
            account = (await client.post("/v1/accounts", json={"name": "Rich"})).json()["id"]
            deposit = {"amount": "99999999999999.00"}
            assert (await client.post(f"/v1/accounts/{account}/deposits", json=deposit)).status_code == 201
        yield Api(schema, headers, account)


def run(api: Api, max_examples: int) -> int:
    """Try every operation, and return how many cases there were; what fails is raised together."""
    schema, headers, _ = api
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


def test_two_hundred_cases(api: Api) -> None:
    assert run(api, FEW) >= 150


@pytest.mark.prove
def test_two_thousand_cases(api: Api) -> None:
    assert run(api, MANY) >= 1500


def chains(api: Api, count: int, length: int) -> list[tuple[str, int]]:
    """Run chains of requests that use what came back, and return each operation with its status.

    Schemathesis finds the links itself: an id in a reply is a parameter of other operations.
    """
    schema, headers, account = api
    machine = schema.as_state_machine()
    answers: list[tuple[str, int]] = []

    class Desk(machine):  # type: ignore[misc, valid-type]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": headers}

        def before_call(self, case: Any) -> None:
            """Order what there is, for an account that has cash: nobody makes these up by chance."""
            is_right = case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE
            if not is_right or not isinstance(case.body, dict):
                return
            if case.operation.label == "POST /v1/orders":
                case.body |= {"symbol": "AAPL", "account_id": account, "side": "buy", "quantity": 1}
            if case.operation.label == "PATCH /v1/orders/{order_id}":
                case.body = {"quantity": 2}
                case.headers["If-Match"] = "*"

        def after_call(self, response: Any, case: Any) -> None:
            answers.append((case.operation.label, response.status_code))

    one_chain = settings(
        max_examples=1,
        stateful_step_count=length,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for number in range(count):
        # One run each: within a run Hypothesis demands that the same choices have the same replies, and a
        # service remembers what was done before. The name of the class is the seed.
        run_state_machine_as_test(type(f"Desk{number}", (Desk,), {}), settings=one_chain)
    return answers


def linked(answers: list[tuple[str, int]]) -> set[str]:
    """Return the operations that found what their id names: nobody makes up an id that is there."""
    return {label for label, status in answers if "{" in label and "symbol" not in label and status < 300}


def test_chains_of_requests_that_use_what_came_back(api: Api) -> None:
    answers = chains(api, *SHORT_CHAINS)
    assert len(answers) >= 40
    assert linked(answers)


@pytest.mark.prove
def test_many_chains_of_requests_that_use_what_came_back(api: Api) -> None:
    answers = chains(api, *LONG_CHAINS)
    assert len(answers) >= 500

    changed_orders = {"GET /v1/orders/{order_id}", "PATCH /v1/orders/{order_id}"}
    assert linked(answers) >= {*changed_orders, "POST /v1/orders/{order_id}/cancel"}
    assert len(linked(answers)) >= 10
