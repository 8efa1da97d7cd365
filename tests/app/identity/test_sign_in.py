"""Who asks and what they may: tokens, scopes, challenges, and passwords that never come out again."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import statistics
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import jwt
import pytest
from deskbook.desk import RunningApp, running_app
from deskbook.desk.database import PASSWORD, TOKEN_SECRET

from reference_app.identity.dependencies import requires
from reference_app.identity.passwords import Passwords
from reference_app.identity.problems import NotAuthenticated
from reference_app.identity.service import IdentityService
from reference_app.identity.tokens import Principal, Tokens
from reference_app.nouns import SCOPES
from reference_app.patterns.load_shedding import Overloaded

SECRET = "hunter2 hunter2 hunter2"
NOBODY = {"Authorization": ""}


async def register(desk: RunningApp, name: str, password: str = SECRET) -> httpx.Response:
    return await desk.client.post("/v1/users", json={"name": name, "password": password})


async def sign_in(desk: RunningApp, name: str, password: str = SECRET, **form: str) -> httpx.Response:
    form = {"grant_type": "password", "username": name, "password": password, **form}
    return await desk.client.post("/v1/tokens", data=form)


async def ask(desk: RunningApp, authorization: str) -> httpx.Response:
    return await desk.client.get("/v1/users/me", headers={"Authorization": authorization})


async def test_from_registration_to_a_token_that_says_who_asks(desk: RunningApp) -> None:
    registered = await register(desk, "margaret")
    assert registered.status_code == 201, registered.text
    assert registered.json()["name"] == "margaret"
    reply = await sign_in(desk, "margaret")
    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert (body["token_type"], body["expires_in"], body["scope"].split()) == ("bearer", 900, sorted(SCOPES))
    me = await ask(desk, f"Bearer {body['access_token']}")
    assert me.json() == registered.json()
    assert registered.headers["location"] == "/v1/users/me"


async def test_a_name_is_taken_once_even_when_ten_take_it_at_the_same_moment(desk: RunningApp) -> None:
    replies = await asyncio.gather(*(register(desk, "ten") for _ in range(10)))
    assert Counter(reply.status_code for reply in replies) == {201: 1, 409: 9}
    refused = next(reply for reply in replies if reply.status_code == 409)
    assert refused.json()["type"] == "/problems/name-taken"


async def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(desk: RunningApp) -> None:
    wrong, unknown = await sign_in(desk, "ada", "not it"), await sign_in(desk, "nobody", "not it")
    assert wrong.status_code == unknown.status_code == 400
    assert wrong.json() == unknown.json()
    assert wrong.json()["error"] == "invalid_grant"


async def test_an_unknown_user_costs_as_much_as_a_wrong_password() -> None:
    """The same work is done: argon2 runs once for each, counted and not timed."""
    passwords = Passwords()
    ran: list[str] = []
    verify, verify_and_update = passwords._hash.verify, passwords._hash.verify_and_update
    passwords._hash.verify = lambda *args: ran.append("decoy") or verify(*args)  # type: ignore[func-returns-value]
    passwords._hash.verify_and_update = lambda *args: ran.append("stored") or verify_and_update(*args)  # type: ignore[func-returns-value]
    try:
        stored = await passwords.hash(SECRET)
        assert passwords._decoy_hash().split("$")[:4] == stored.split("$")[:4]  # the same parameters
        assert await passwords.check("not it", stored) == (False, None)
        assert await passwords.check("not it", None) == (False, None)
        assert await passwords.check(SECRET, stored) == (True, None)
        assert ran == ["stored", "decoy", "stored"]

        async def seconds(stored: str | None) -> float:
            started = time.perf_counter()
            await passwords.check("not it", stored)
            return time.perf_counter() - started

        pairs = [(await seconds(stored), await seconds(None)) for _ in range(9)]
        # A check that returned at once would be a hundred times as fast.
        assert 0.3 < statistics.median(known / unknown for known, unknown in pairs) < 3
    finally:
        passwords.close()


async def test_an_outdated_hash_is_replaced_at_the_next_sign_in(desk: RunningApp) -> None:
    from pwdlib.hashers.argon2 import Argon2Hasher

    await register(desk, "renewed")
    old = Argon2Hasher(1, 8 * 1024, 1).hash(SECRET)
    await desk.sql("UPDATE users SET password_hash = $1 WHERE name = 'renewed'", old)
    assert (await sign_in(desk, "renewed")).status_code == 200
    (row,) = await desk.sql("SELECT password_hash FROM users WHERE name = 'renewed'")
    assert row["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await sign_in(desk, "renewed")).status_code == 200


async def test_the_event_loop_goes_on_while_passwords_are_hashed() -> None:
    passwords, release, entered = Passwords(), threading.Event(), threading.Event()

    def held(password: str) -> str:
        entered.set()
        assert release.wait(30)
        return "done"

    passwords._hash.hash = held  # type: ignore[assignment, method-assign]
    task = asyncio.create_task(passwords.hash(SECRET))
    try:
        while not entered.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0)  # the loop turns, though a hash is being made
        assert not task.done()
    finally:
        release.set()
        assert await task == "done"
        passwords.close()


async def test_more_sign_ins_than_can_be_checked_are_told_to_come_back() -> None:
    async with running_app() as desk:
        release = threading.Event()
        passwords = Passwords(max_running=1, max_waiting=0)
        passwords._hash.verify_and_update = lambda *args: (release.wait(30), None)  # type: ignore[method-assign, assignment, return-value]
        identity = desk.state["services"][IdentityService]
        identity._passwords.close()
        identity._passwords = passwords
        first = asyncio.create_task(sign_in(desk, "ada", PASSWORD))
        while not passwords._shedder.running:  # noqa: ASYNC110
            await asyncio.sleep(0)
        try:
            with pytest.raises(Overloaded):
                await passwords.hash(SECRET)
            reply = await sign_in(desk, "ada", PASSWORD)
            assert (reply.status_code, reply.json()["type"]) == (503, "/problems/too-many-sign-ins")
            assert reply.headers["retry-after"] == "1"
        finally:
            release.set()
            assert (await first).status_code == 200
            passwords.close()


@pytest.mark.parametrize("authorization", ["", "Basic YWRhOmh1bnRlcjI=", "Token x"])
async def test_without_a_token_the_challenge_names_no_error(desk: RunningApp, authorization: str) -> None:
    reply = await ask(desk, authorization)
    assert (reply.status_code, reply.json()["type"]) == (401, "/problems/not-authenticated")
    assert reply.headers["www-authenticate"] == 'Bearer realm="desk"'


async def test_of_two_authorization_headers_the_first_counts(desk: RunningApp) -> None:
    await register(desk, "twice")
    token = (await sign_in(desk, "twice")).json()["access_token"]
    basic, bearer = ("Authorization", "Basic YWRhOmh1bnRlcjI="), ("Authorization", f"Bearer {token}")
    for headers, status in (([basic, bearer], 401), ([bearer, basic], 200)):
        request = desk.client.build_request("GET", "/v1/users/me", headers=headers)
        request.headers = httpx.Headers(headers)  # without the client's own token
        assert (await desk.client.send(request)).status_code == status


def forged(typ: str | None = "at+jwt", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": "desk", "aud": "desk", "sub": str(uuid.uuid4()), "exp": now + 60, "scope": "orders:read"}
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(claims, TOKEN_SECRET, "HS256", headers={"typ": typ})


def unsigned() -> str:
    parts = [{"alg": "none", "typ": "JWT"}, jwt.decode(forged(), options={"verify_signature": False})]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, ""])


def bad_tokens() -> Iterator[Any]:
    yield pytest.param("", id="empty")
    yield pytest.param("nonsense", id="no JWT")
    yield pytest.param("\x80é", id="not ASCII")
    yield pytest.param("a." * 5000, id="huge")
    yield pytest.param(unsigned(), id="algorithm none")
    yield pytest.param(forged()[:-4] + "AAAA", id="signature changed")
    yield pytest.param(jwt.encode({"sub": "x"}, "k" * 32, "HS256"), id="foreign key")
    yield pytest.param(forged(aud="another"), id="for another service")
    yield pytest.param(forged(iss="another"), id="of another service")
    yield pytest.param(forged(sub="ada"), id="subject no id")
    yield pytest.param(forged(exp=None), id="without end")
    yield pytest.param(forged(scope=None), id="without scope")
    yield pytest.param(forged(exp=1), id="expired")
    yield pytest.param(forged(exp="nan"), id="never ends")
    yield pytest.param(forged(exp=str(int(time.time()) + 60)), id="ends at a text")
    yield pytest.param(forged(exp=True), id="ends at a truth")
    yield pytest.param(forged(exp=float("inf")), id="ends at infinity")
    yield pytest.param(forged(exp=10**400), id="ends beyond all numbers")
    yield pytest.param(forged("logout+jwt"), id="of another kind")
    yield pytest.param(forged("JWT"), id="of any kind")
    yield pytest.param(forged(None), id="of no kind")


@pytest.mark.parametrize("token", list(bad_tokens()))
async def test_a_token_that_is_not_good_is_401_with_invalid_token(desk: RunningApp, token: str) -> None:
    with pytest.raises(NotAuthenticated):  # by what it says, and not since its user does not exist
        Tokens(TOKEN_SECRET, ttl_s=60).verify(token)
    headers = [(b"authorization", b"Bearer " + token.encode("latin-1"))]
    async with httpx.AsyncClient(transport=desk.client._transport, base_url="http://desk") as client:
        reply = await client.get("/v1/users/me", headers=headers)
    assert (reply.status_code, reply.json()["type"]) == (401, "/problems/not-authenticated")
    assert reply.headers["www-authenticate"].startswith('Bearer realm="desk", error="invalid_token"')


def test_a_remembered_token_dies_at_the_second_it_says() -> None:
    now = [1_000_000.0]
    tokens = Tokens(TOKEN_SECRET, ttl_s=60, clock=lambda: now[0])
    token = tokens.issue(uuid.uuid4(), ["orders:read"])
    first = tokens.verify(token)
    assert tokens.verify(token) is first  # remembered
    now[0] += 59.9
    assert tokens.verify(token) is first
    now[0] += 0.1
    for _ in range(2):
        with pytest.raises(NotAuthenticated, match="expired"):
            tokens.verify(token)


def test_what_is_remembered_is_bounded_and_holds_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference_app.identity.tokens.MAX_VERIFIED", 3)
    tokens = Tokens(TOKEN_SECRET, ttl_s=60)
    issued = [tokens.issue(uuid.uuid4(), []) for _ in range(5)]
    for token in issued:
        tokens.verify(token)
    assert len(tokens._verified) == 3
    assert not {token.encode() for token in issued} & set(tokens._verified._entries)
    assert TOKEN_SECRET not in repr(tokens)


async def test_tokens_of_one_worker_are_good_at_another_with_the_same_secret() -> None:
    token = Tokens("s" * 32, ttl_s=60).issue(user := uuid.uuid4(), ["orders:read"])
    assert Tokens("s" * 32, ttl_s=60).verify(token).id == user
    with pytest.raises(NotAuthenticated):
        Tokens("t" * 32, ttl_s=60).verify(token)


def test_our_own_kind_of_token_is_accepted_and_has_what_rfc_9068_wants() -> None:
    tokens = Tokens(TOKEN_SECRET, ttl_s=60)
    assert tokens.verify(forged()).scopes == {"orders:read"}
    assert tokens.verify(forged("application/AT+JWT")).scopes == {"orders:read"}
    token = tokens.issue(uuid.uuid4(), ["orders:read"])
    claims = jwt.decode(token, options={"verify_signature": False})
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} <= set(claims)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"


def test_a_secret_is_changed_and_nobody_is_signed_out() -> None:
    old, new, foreign = "o" * 32, "n" * 32, "f" * 32
    steps = [
        Tokens(old, ttl_s=60),
        Tokens(old, other_secret=new, ttl_s=60),
        Tokens(new, other_secret=old, ttl_s=60),
        Tokens(new, ttl_s=60),
    ]
    for before, after in itertools.pairwise(steps):  # workers of two neighbouring steps run side by side
        after.verify(before.issue(uuid.uuid4(), []))
        before.verify(after.issue(uuid.uuid4(), []))
    with pytest.raises(NotAuthenticated):
        steps[3].verify(steps[0].issue(uuid.uuid4(), []))
    with pytest.raises(NotAuthenticated):
        steps[1].verify(Tokens(foreign, ttl_s=60).issue(uuid.uuid4(), []))


async def test_a_token_with_too_few_scopes_is_403_that_names_what_is_missing(desk: RunningApp) -> None:
    headers = await desk.sign_in("ada", scopes=["accounts:read"])
    assert (await desk.client.get("/v1/accounts", headers=headers)).status_code == 200
    reply = await desk.client.post("/v1/accounts", json={"name": "Savings"}, headers=headers)
    assert (reply.status_code, reply.json()["type"]) == (403, "/problems/not-allowed")
    assert reply.json()["scope"] == "accounts:write"
    assert reply.headers["www-authenticate"] == (
        'Bearer realm="desk", error="insufficient_scope", scope="accounts:write"'
    )


async def test_a_token_carries_what_was_asked_for_and_no_more_than_the_user_may(desk: RunningApp) -> None:
    reply = await sign_in(desk, "ada", PASSWORD, scope="orders:read accounts:read")
    assert reply.json()["scope"] == "accounts:read orders:read"
    refused = await sign_in(desk, "ada", PASSWORD, scope="orders:read market:write")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")


def test_a_scope_that_nobody_can_have_is_an_error_of_the_programmer() -> None:
    with pytest.raises(ValueError, match="order:write"):
        requires("order:write")


async def test_the_user_of_a_token_may_be_gone(own_desk: RunningApp) -> None:
    headers = await own_desk.sign_in("grace")
    await own_desk.sql("DELETE FROM users WHERE name = 'grace'")
    reply = await own_desk.client.get("/v1/users/me", headers=headers)
    assert reply.status_code == 401
    assert "invalid_token" in reply.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("path", "json_body", "data"),
    [
        ("/v1/users", {"name": "ada", "password": "hunter2"}, None),
        ("/v1/users", {"name": "HUNTER hunter2", "password": SECRET}, None),
        ("/v1/users", {"name": "ada", "password": {"is": SECRET}}, None),
        ("/v1/users", {"name": "ada", "password": SECRET, "passwort": SECRET}, None),
        ("/v1/users", {"name": "ada", "password": SECRET}, None),  # taken
        ("/v1/tokens", None, {"grant_type": "password", "username": "ada", "password": SECRET}),
        ("/v1/tokens", None, {"grant_type": "hunter2", "username": "ada", "password": SECRET}),
        ("/v1/tokens", None, {"username": "ada", "password": SECRET * 100, "scope": "hunter2"}),
        ("/v1/tokens", {"password": SECRET}, None),
    ],
)
async def test_a_password_is_neither_in_replies_nor_in_logs(
    desk: RunningApp, caplog: pytest.LogCaptureFixture, path: str, json_body: Any, data: Any
) -> None:
    with caplog.at_level(logging.DEBUG):
        reply = await desk.client.post(path, json=json_body, data=data)
    assert 400 <= reply.status_code < 500
    assert "hunter2" not in reply.text
    assert "hunter2" not in caplog.text


async def test_the_hash_and_the_password_are_in_no_repr(desk: RunningApp) -> None:
    from reference_app.identity.models import User
    from reference_app.identity.schemas import PasswordGrant, UserIn

    assert SECRET not in repr(UserIn(name="ada", password=SECRET))  # type: ignore[arg-type]
    grant = PasswordGrant(grant_type="password", username="ada", password=SECRET)  # type: ignore[arg-type]
    assert SECRET not in repr(grant)
    assert "argon2" not in repr(User(name="ada", password_hash="$argon2id$"))
    (row,) = await desk.sql("SELECT password_hash FROM users WHERE name = 'ada'")
    assert PASSWORD not in row["password_hash"]


async def test_an_account_of_another_user_does_not_exist(desk: RunningApp) -> None:
    own = (await desk.client.post("/v1/accounts", json={"name": "Savings"})).json()["id"]
    entry = await desk.client.post(f"/v1/accounts/{own}/deposits", json={"amount": "5.00"})
    grace = await desk.sign_in("grace")
    missing = uuid.uuid4()
    for account in (own, missing):
        here = f"/v1/accounts/{account}"
        replies = [
            await desk.client.get(here, headers=grace),
            await desk.client.get(f"{here}/entries", headers=grace),
            await desk.client.get(f"{here}/entries/{entry.json()['id']}", headers=grace),
            await desk.client.post(f"{here}/deposits", json={"amount": "1.00"}, headers=grace),
            await desk.client.post(f"{here}/withdrawals", json={"amount": "1.00"}, headers=grace),
        ]
        assert {(reply.status_code, reply.json()["type"]) for reply in replies} == {
            (404, "/problems/account-not-found")
        }
    listed = (await desk.client.get("/v1/accounts", headers=grace)).json()["items"]
    assert own not in [item["id"] for item in listed]
    assert (await desk.client.get(f"/v1/accounts/{own}")).json()["balance"] == "5.00"


async def test_every_route_of_a_users_data_needs_a_token(desk: RunningApp) -> None:
    document = desk.app.openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            is_open = path.startswith(("/health", "/problems", "/v1/instruments", "/v2/instruments"))
            is_open = is_open or (method, path) in {("post", "/v1/users"), ("post", "/v1/tokens")}
            assert bool(operation.get("security")) or is_open, f"{method} {path}"
            if operation.get("security"):
                assert {"401", "403"} <= set(operation["responses"]) or path == "/v1/users/me"
                reply = await desk.client.request(
                    method, path.replace("{", "").replace("}", ""), headers=NOBODY
                )
                assert reply.status_code == 401, f"{method} {path}"


def test_annotated_aliases_are_what_routes_use() -> None:
    alias = Annotated[Principal, requires("orders:write")]
    (security,) = alias.__metadata__  # type: ignore[attr-defined]
    assert security.scopes == ["orders:write"]


@pytest.mark.parametrize("name", ["\x00", "ada\x00", "\ud7ff\x00", "Ada", "a b", "ada\n"])
async def test_a_name_that_nobody_can_have_is_a_wrong_name(desk: RunningApp, name: str) -> None:
    form = {"grant_type": "password", "username": name, "password": "x"}
    reply = await desk.client.post("/v1/tokens", data=form)
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_grant")
