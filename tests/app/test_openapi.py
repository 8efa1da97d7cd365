"""OpenAPI tells the whole story: every route has words, its errors, and no JSON numbers for money."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reference_app.app import create_app
from reference_app.settings import load_settings

DOCUMENT: Any = create_app(load_settings(database_url="postgresql://localhost/none")).openapi()


def operations() -> Iterator[tuple[str, Any]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_routes_are_these() -> None:
    assert {name for name, _ in operations()} == {
        "GET /v1/instruments",
        "GET /v1/instruments/{symbol}",
        "GET /v1/instruments/{symbol}/candles",
        "GET /v1/instruments/{symbol}/aggregates/{interval}/{year}",
        "GET /v1/instruments/{symbol}/quote",
        "GET /v2/instruments/{symbol}/quote",
        "GET /v1/candles",
        "POST /v1/candles",
        "POST /v1/users",
        "GET /v1/users/me",
        "POST /v1/tokens",
        "GET /v1/accounts",
        "POST /v1/accounts",
        "GET /v1/accounts/{account_id}",
        "GET /v1/accounts/{account_id}/portfolio",
        "POST /v1/accounts/{account_id}/deposits",
        "POST /v1/accounts/{account_id}/withdrawals",
        "GET /v1/accounts/{account_id}/entries",
        "GET /v1/accounts/{account_id}/entries/{entry_id}",
        "POST /v1/orders",
        "GET /v1/orders",
        "GET /v1/orders/{order_id}",
        "PATCH /v1/orders/{order_id}",
        "POST /v1/orders/{order_id}/cancel",
        "GET /v1/watchlists",
        "GET /v1/watchlists/{watchlist_id}",
        "PUT /v1/watchlists/{watchlist_id}",
        "PATCH /v1/watchlists/{watchlist_id}",
        "DELETE /v1/watchlists/{watchlist_id}",
        "GET /health/live",
        "GET /health/ready",
        "GET /problems",
        "GET /problems/{name}",
    }


def test_every_route_is_described_and_has_a_short_unique_name() -> None:
    names = [operation["operationId"] for _, operation in operations()]
    assert len(set(names)) == len(names)
    assert all(operation["description"].endswith(".") for _, operation in operations())
    assert all(len(name) < 25 for name in names)


def test_schemas_are_described_for_clients_and_not_for_who_maintains_them() -> None:
    found = {
        name: schema.get("description", "") for name, schema in DOCUMENT["components"]["schemas"].items()
    }
    assert found["OrderOut"] == "An order as it is now."
    assert [name for name, words in found.items() if "BaseModel" in words or "pydantic" in words] == []


def test_every_error_is_a_problem_with_an_example() -> None:
    for name, operation in operations():
        for status, response in operation["responses"].items():
            if status >= "400":
                (media_type,) = response["content"]
                assert media_type == "application/problem+json", name
                examples = response["content"][media_type]["examples"].values()
                assert all(example["value"]["status"] == int(status) for example in examples)
                assert len(examples) >= 1


def test_every_versioned_route_tells_what_can_go_wrong_with_any_request() -> None:
    for name, operation in operations():
        if " /v1/" in name:
            assert set(operation["responses"]) >= {"413", "422", "500", "503"}, name
        if "{" in name:
            assert "404" in operation["responses"], name


def test_overdrawing_is_documented() -> None:
    operation = DOCUMENT["paths"]["/v1/accounts/{account_id}/withdrawals"]["post"]
    examples = operation["responses"]["409"]["content"]["application/problem+json"]["examples"]
    assert examples["InsufficientFunds"]["value"]["type"] == "/problems/insufficient-funds"


def test_no_schema_has_a_json_number_with_a_fraction() -> None:
    def kinds(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("type"), str):
                yield node["type"]
            for child in node.values():
                yield from kinds(child)
        elif isinstance(node, list):
            for child in node:
                yield from kinds(child)

    assert "string" in set(kinds(DOCUMENT["components"]))
    assert "number" not in set(kinds(DOCUMENT))
