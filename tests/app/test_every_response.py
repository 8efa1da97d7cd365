"""What every response has, errors included: an id, safe headers, Cache-Control, CORS and a validator."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from deskbook.desk import RunningApp, running_app
from prometheus_client import generate_latest

ORIGIN = "https://desk.example"
PATHS = [
    ("GET", "/v1/instruments", 200),
    ("GET", "/v1/instruments/AAPL", 200),
    ("GET", "/v2/instruments/AAPL/quote", 200),
    ("GET", "/health/live", 200),
    ("GET", "/health/ready", 200),
    ("GET", "/problems", 200),
    ("GET", "/docs", 200),
    ("GET", "/openapi.json", 200),
    ("GET", "/nowhere", 404),
    ("GET", "/v1/instruments/none", 422),
    ("DELETE", "/v1/instruments", 405),
    ("POST", "/v1/accounts", 422),
    ("GET", "/boom", 500),
]


@pytest.fixture(scope="module")
async def crossing() -> AsyncIterator[RunningApp]:
    """Give a desk that browsers may call from one origin, with a route that fails."""
    async with running_app(cors_origins=ORIGIN) as running:

        @running.app.get("/boom")
        async def boom() -> None:
            raise ZeroDivisionError

        yield running


def is_complete(reply: httpx.Response) -> None:
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"]
    assert len(reply.headers.get_list("x-request-id")) == 1
    assert "strict-transport-security" not in reply.headers  # this is no TLS


@pytest.mark.parametrize(("method", "path", "status"), PATHS)
async def test_errors_too_have_everything(
    crossing: RunningApp, method: str, path: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL):
        reply = await crossing.client.request(method, path, headers={"Origin": ORIGIN})
    assert reply.status_code == status, reply.text
    is_complete(reply)
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert "Origin" in reply.headers["vary"]
    if status >= 400:
        assert reply.headers["cache-control"] == "no-store"
    if not path.startswith("/health"):
        assert reply.headers["ratelimit-policy"] == '"default";q=6000;w=60'


async def test_a_stranger_gets_no_permission_and_a_preflight_is_answered(crossing: RunningApp) -> None:
    reply = await crossing.client.get("/v1/instruments", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in reply.headers
    asking = {"Origin": ORIGIN, "Access-Control-Request-Method": "PATCH"}
    asking["Access-Control-Request-Headers"] = "if-match,authorization"
    reply = await crossing.client.options("/v1/accounts", headers=asking)
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "PATCH" in reply.headers["access-control-allow-methods"]
    is_complete(reply)


async def test_the_id_of_the_client_is_taken_over_and_one_that_breaks_the_log_is_not(
    crossing: RunningApp,
) -> None:
    for sent, kept in (("order-7", True), ("a b\nc", False), ("x" * 129, False)):
        headers = {"X-Request-ID": sent.replace("\n", "\t")}
        reply = await crossing.client.get("/nowhere", headers=headers)
        assert (reply.headers["x-request-id"] == sent) == kept


async def test_over_tls_browsers_are_told_to_stay_there(crossing: RunningApp) -> None:
    reply = await crossing.client.get("https://desk/health/live")
    assert reply.headers["strict-transport-security"].startswith("max-age=31536000")


async def test_every_json_answer_can_be_asked_for_again_at_no_cost(crossing: RunningApp) -> None:
    for path in ("/v1/instruments?limit=2", "/v1/instruments/AAPL", "/v1/instruments/AAPL/candles?limit=3"):
        first = await crossing.client.get(path)
        etag = first.headers["etag"]
        assert first.headers["cache-control"] == "private, no-cache"
        again = await crossing.client.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert "content-length" not in again.headers
        assert "content-type" not in again.headers
        assert again.headers.get("link") == first.headers.get("link")
        is_complete(again)
        other = await crossing.client.get(path, headers={"If-None-Match": '"other"'})
        assert (other.status_code, other.content) == (200, first.content)
        head = await crossing.client.head(path, headers={"If-None-Match": etag})
        assert head.status_code == 304
        failed = await crossing.client.get(path, headers={"If-Match": '"other"'})
        assert (failed.status_code, failed.headers["content-type"]) == (412, "application/problem+json")
        wrong = await crossing.client.get(path, headers={"If-None-Match": "no quotes"})
        assert (wrong.status_code, wrong.headers["content-type"]) == (400, "application/problem+json")


async def test_an_error_has_no_validator(crossing: RunningApp) -> None:
    reply = await crossing.client.get("/v1/instruments/NONE")
    assert "etag" not in reply.headers
    reply = await crossing.client.post("/v1/accounts", json={"name": "Ada"})
    assert (reply.status_code, reply.headers["cache-control"]) == (201, "no-store")


async def test_metrics_name_routes_and_never_addresses(crossing: RunningApp) -> None:
    for path in ("/v1/instruments/IBM", "/v1/instruments/NONE", "/nowhere/hunter2"):
        await crossing.client.get(path)
    await crossing.client.request("BREW", "/v1/instruments")
    text = generate_latest(crossing.app.state.metrics.registry).decode()
    assert (await crossing.client.get("/metrics")).status_code == 404, "it is for operators, on their port"
    count = 'http_request_duration_seconds_count{{method="{}",route="{}",status="{}"}}'
    assert count.format("GET", "/v1/instruments/{symbol}", 200) in text
    assert count.format("GET", "/v1/instruments/{symbol}", 404) in text
    assert count.format("GET", "none", 404) in text
    assert count.format("other", "none", 405) in text or count.format("other", "/v1/instruments", 405) in text
    assert "hunter2" not in text
    assert "IBM" not in text
    assert "BREW" not in text
    assert "http_requests_running 0.0" in text
    assert "event_loop_lag_seconds_count" in text
