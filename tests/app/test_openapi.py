"""OpenAPI tells the whole story: every route has words, its errors, and no JSON numbers for money."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from reference_app.app import create_app
from reference_app.patterns.conditional_request import etag
from reference_app.settings import load_settings
from tests.app.routes import all_routes

DOCUMENT: Any = create_app(load_settings(database_url="postgresql://localhost/none")).openapi()


def operations() -> Iterator[tuple[str, Any]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_the_routes_are_those_that_the_nouns_name() -> None:
    assert {name for name, _ in operations()} == all_routes().keys()


def test_if_match_can_be_sent_as_the_api_takes_it() -> None:
    """`*` and an ETag are taken, and what is documented must not forbid them; nothing else is offered."""
    found = {
        name: parameter["schema"]["pattern"]
        for name, operation in operations()
        for parameter in operation.get("parameters", ())
        if parameter["name"] == "If-Match"
    }
    assert "PATCH /v1/orders/{order_id}" in found
    for name, pattern in found.items():
        taken = [tag for tag in ("*", etag("order", 1, 1), "", "\\", "abc", '""') if re.search(pattern, tag)]
        assert taken == ["*", etag("order", 1, 1)], name


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
