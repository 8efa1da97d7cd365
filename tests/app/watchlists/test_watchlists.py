"""Watchlists over HTTP: PUT, PATCH and DELETE by the book, and another user's list is not there."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest
from deskbook.desk import RunningApp

BODY = {"name": "Big ones", "note": "since 2010", "symbols": ["IBM", "AAPL"]}


def new_url() -> str:
    return f"/v1/watchlists/{uuid.uuid4()}"


async def put(desk: RunningApp, url: str, body: Any = BODY, **headers: str) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return await desk.client.put(url, json=body, headers=headers)


async def test_a_list_is_created_read_and_replaced_as_a_whole(desk: RunningApp) -> None:
    url = new_url()
    created = await put(desk, url)
    assert (created.status_code, created.headers["location"]) == (201, url), created.text
    read = await desk.client.get(url)
    assert read.json() == created.json()
    assert {name: read.json()[name] for name in BODY} == BODY
    assert read.headers["etag"] == created.headers["etag"]
    assert (await desk.client.get(url, headers={"If-None-Match": read.headers["etag"]})).status_code == 304
    replaced = await put(desk, url, {"name": "Others"}, If_Match=read.headers["etag"])
    assert (replaced.status_code, replaced.json()["note"], replaced.json()["symbols"]) == (200, None, [])
    assert replaced.headers["etag"] != read.headers["etag"]
    page = await desk.client.get("/v1/watchlists?limit=1000")
    assert replaced.json() in page.json()["items"]


async def test_replacing_needs_the_version_that_was_seen(desk: RunningApp) -> None:
    url = new_url()
    first = (await put(desk, url)).headers["etag"]
    assert (await put(desk, url)).status_code == 428
    assert (await put(desk, url, If_None_Match="*")).status_code == 412
    second = (await put(desk, url, If_Match=first)).headers["etag"]
    assert (await put(desk, url, {"name": "Lost"}, If_Match=first)).status_code == 412
    assert (await desk.client.get(url)).json()["name"] == "Big ones"
    assert (await put(desk, url, If_Match=second)).status_code == 200
    assert (await put(desk, new_url(), If_Match=second)).status_code == 412  # nothing is there
    assert (await put(desk, new_url(), If_None_Match="*")).status_code == 201


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({}, BODY),
        ({"note": None}, BODY | {"note": None}),
        ({"note": ""}, BODY | {"note": ""}),
        ({"name": "Few"}, BODY | {"name": "Few"}),
        ({"symbols": []}, BODY | {"symbols": []}),
    ],
)
async def test_a_patch_changes_what_it_names(desk: RunningApp, patch: Any, expected: Any) -> None:
    url = new_url()
    etag = (await put(desk, url)).headers["etag"]
    headers = {"If-Match": etag, "Content-Type": "application/merge-patch+json"}
    reply = await desk.client.patch(url, json=patch, headers=headers)
    assert reply.status_code == 200, reply.text
    assert {name: reply.json()[name] for name in BODY} == expected
    assert (await desk.client.patch(url, json=patch)).status_code == 428
    assert (await desk.client.patch(url, json=patch, headers=headers)).status_code == 412


@pytest.mark.parametrize(
    "body",
    [
        {"name": None},
        {"symbols": None},
        {"symbols": ["AAPL", "AAPL"]},
        {"symbols": ["aapl"]},
        {"symbols": ["NONE"]},
        {"name": ""},
        {"name": "a\x00b"},
        {"note": "x" * 501},
        {"owner_id": str(uuid.uuid4())},
        [],
    ],
)
async def test_what_cannot_be_in_a_list_changes_nothing(desk: RunningApp, body: Any) -> None:
    url = new_url()
    created = await put(desk, url)
    headers = {"If-Match": created.headers["etag"]}
    assert (await desk.client.patch(url, json=body, headers=headers)).status_code == 422
    if isinstance(body, dict):
        assert (await put(desk, url, BODY | body, **headers)).status_code == 422
    assert (await desk.client.get(url)).json() == created.json()


async def test_a_list_is_deleted_once_in_the_version_that_was_seen(desk: RunningApp) -> None:
    url = new_url()
    etag = (await put(desk, url)).headers["etag"]
    assert (await desk.client.delete(url)).status_code == 428
    assert (await desk.client.delete(url, headers={"If-Match": '"other"'})).status_code == 412
    deleted = await desk.client.delete(url, headers={"If-Match": etag})
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await desk.client.get(url)).status_code == 404
    assert (await desk.client.delete(url, headers={"If-Match": etag})).status_code == 404
    again = await put(desk, url)
    assert again.status_code == 201
    assert again.headers["etag"] != etag  # another list, though it has the same id and version


async def test_another_users_list_is_not_there(desk: RunningApp) -> None:
    url = new_url()
    etag = (await put(desk, url)).headers["etag"]
    other = await desk.sign_in("grace")
    theirs = {**other, "If-Match": etag}
    nowhere = await desk.client.get(new_url(), headers=other)
    for reply in (
        await desk.client.get(url, headers=other),
        await desk.client.put(url, json=BODY, headers=other),
        await desk.client.patch(url, json={"name": "Mine"}, headers=theirs),
        await desk.client.delete(url, headers=theirs),
    ):
        assert (reply.status_code, reply.json()) == (404, nowhere.json())
    assert url.rsplit("/", 1)[1] not in (await desk.client.get("/v1/watchlists", headers=other)).text
    assert (await desk.client.get(url)).headers["etag"] == etag


async def test_scopes(desk: RunningApp) -> None:
    reader = await desk.sign_in("grace", scopes=["watchlists:read"])
    assert (await desk.client.get("/v1/watchlists", headers=reader)).status_code == 200
    assert (await desk.client.put(new_url(), json=BODY, headers=reader)).status_code == 403
    assert (await desk.client.get("/v1/watchlists", headers={"Authorization": ""})).status_code == 401


async def test_of_many_who_change_the_same_version_one_gets_through(desk: RunningApp) -> None:
    url = new_url()
    etag = (await put(desk, url)).headers["etag"]
    replies = await asyncio.gather(
        *(put(desk, url, {"name": f"Number {number}"}, If_Match=etag) for number in range(8))
    )
    assert sorted(reply.status_code for reply in replies) == [200] + [412] * 7
    winner = next(reply for reply in replies if reply.status_code == 200)
    assert (await desk.client.get(url)).json() == winner.json()


async def test_of_many_who_create_the_same_list_one_does(desk: RunningApp) -> None:
    url = new_url()
    replies = await asyncio.gather(*(put(desk, url, If_None_Match="*") for _ in range(8)))
    assert sorted(reply.status_code for reply in replies) == [201] + [412] * 7


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_naming_a_version_that_it_is_not_does_not_excuse_from_naming_the_one_that_it_is(
    desk: RunningApp, method: str
) -> None:
    path = f"/v1/watchlists/{uuid.uuid4()}"
    assert (await desk.client.put(path, json={"name": "first"})).status_code == 201
    body = None if method == "DELETE" else {"name": "second"}
    reply = await desk.client.request(method, path, json=body, headers={"If-None-Match": '"whatever"'})
    assert reply.status_code == 428
    assert (await desk.client.get(path)).json()["name"] == "first"
    again = await desk.client.put(path, json={"name": "second"}, headers={"If-None-Match": "*"})
    assert again.status_code == 412
