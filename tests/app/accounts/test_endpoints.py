"""The ledger over HTTP."""

from __future__ import annotations

import re
import uuid

import pytest
from deskbook.desk import RunningApp

from reference_app.accounts.models import OUTSIDE_WORLD
from tests.app.trader import Trader


async def test_a_new_account_is_empty_and_is_where_location_says(desk: RunningApp) -> None:
    reply = await desk.client.post("/v1/accounts", json={"name": "Ada's savings"})
    body = reply.json()
    assert reply.status_code == 201
    assert (body["name"], body["balance"], body["minimum_balance"]) == ("Ada's savings", "0.00", "0.00")
    assert body["currency"] == "USD"
    assert reply.headers["location"] == f"/v1/accounts/{body['id']}"
    assert (await desk.client.get(reply.headers["location"])).json() == body


@pytest.mark.parametrize("name", ["", "a" * 101, "a\x00b", "a\nb", 5, None])
async def test_a_name_is_short_printable_text(desk: RunningApp, name: object) -> None:
    reply = await desk.client.post("/v1/accounts", json={"name": name})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/name"


async def test_a_deposit_adds_and_a_withdrawal_takes(desk: RunningApp) -> None:
    account_id = await Trader(desk).open_account(None)
    deposit = (await Trader(desk).deposit(account_id, "100.5")).json()
    assert (deposit["kind"], deposit["amount"], deposit["balance_after"]) == ("deposit", "100.50", "100.50")
    withdrawal = (await Trader(desk).withdraw(account_id, "80.25")).json()
    assert (withdrawal["kind"], withdrawal["amount"]) == ("withdrawal", "-80.25")
    assert withdrawal["balance_after"] == "20.25"
    assert await Trader(desk).balance_of(account_id) == "20.25"


async def test_a_movement_is_where_location_says(desk: RunningApp) -> None:
    account_id = await Trader(desk).open_account(None)
    reply = await Trader(desk).deposit(account_id, "1.00")
    assert reply.status_code == 201
    assert (await desk.client.get(reply.headers["location"])).json() == reply.json()


async def test_the_whole_balance_may_go_and_not_a_cent_more(desk: RunningApp) -> None:
    account_id = await Trader(desk).open_account("0.30")
    reply = await Trader(desk).withdraw(account_id, "0.31")
    assert reply.status_code == 409
    assert reply.json()["type"] == "/problems/insufficient-funds"
    assert reply.json()["balance"] == "0.30"
    assert "0.31" not in reply.text
    assert (await Trader(desk).withdraw(account_id, "0.30")).json()["balance_after"] == "0.00"


async def test_a_refused_withdrawal_leaves_no_trace(own_desk: RunningApp) -> None:
    account_id = await Trader(own_desk).open_account("10.00")
    before = await own_desk.sql("SELECT * FROM ledger_entries")
    assert (await Trader(own_desk).withdraw(account_id, "10.01")).status_code == 409
    assert await own_desk.sql("SELECT * FROM ledger_entries") == before
    assert len(await own_desk.sql("SELECT * FROM ledger_transactions")) == 1


@pytest.mark.parametrize("amount", ["0", "-1.00", "1.001", 1, 0.1, "1e2", "NaN", "", None, True, "9" * 15])
@pytest.mark.parametrize("what", ["deposits", "withdrawals"])
async def test_only_a_positive_amount_in_cents_moves(desk: RunningApp, what: str, amount: object) -> None:
    account_id = await Trader(desk).open_account(None)
    reply = await Trader(desk).post(f"/v1/accounts/{account_id}/{what}", {"amount": amount})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/amount"


async def test_the_ledger_says_so_when_a_balance_gets_too_large(desk: RunningApp) -> None:
    account_id = await Trader(desk).open_account("99999999999999.99")
    reply = await Trader(desk).deposit(account_id, "0.01")
    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/balance-too-large")
    assert await Trader(desk).balance_of(account_id) == "99999999999999.99"


@pytest.mark.parametrize("account_id", [uuid.UUID(int=7), OUTSIDE_WORLD])
async def test_accounts_that_are_not_there_or_not_a_customers_are_404(
    desk: RunningApp, account_id: uuid.UUID
) -> None:
    replies = [
        await desk.client.get(f"/v1/accounts/{account_id}"),
        await desk.client.get(f"/v1/accounts/{account_id}/entries"),
        await desk.client.get(f"/v1/accounts/{account_id}/entries/1"),
        await Trader(desk).deposit(account_id, "1.00"),
        await Trader(desk).withdraw(account_id, "1.00"),
    ]
    assert {(reply.status_code, reply.json()["type"]) for reply in replies} == {
        (404, "/problems/account-not-found")
    }


async def test_entries_are_the_statement_page_by_page(desk: RunningApp) -> None:
    account_id = await Trader(desk).open_account(None)
    for amount in ("1.00", "2.00", "3.00"):
        await Trader(desk).deposit(account_id, amount)
    first = (await desk.client.get(f"/v1/accounts/{account_id}/entries", params={"limit": 2})).json()
    params = {"limit": 2, "cursor": first["next_cursor"]}
    second = (await desk.client.get(f"/v1/accounts/{account_id}/entries", params=params)).json()
    assert [item["balance_after"] for item in first["items"] + second["items"]] == ["1.00", "3.00", "6.00"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize("cursor", ["eA", "LTE", "OTIyMzM3MjAzNjg1NDc3NTgwOA", "wrI"])
async def test_a_cursor_that_is_no_entry_number_is_a_problem(desk: RunningApp, cursor: str) -> None:
    account_id = await Trader(desk).open_account(None)
    reply = await desk.client.get(f"/v1/accounts/{account_id}/entries", params={"cursor": cursor})
    assert (reply.status_code, reply.json()["type"]) == (400, "/problems/invalid-cursor")


async def test_an_entry_of_another_account_is_not_found(desk: RunningApp) -> None:
    own, other = await Trader(desk).open_account("1.00"), await Trader(desk).open_account("1.00")
    entry = (await desk.client.get(f"/v1/accounts/{other}/entries")).json()["items"][0]["id"]
    reply = await desk.client.get(f"/v1/accounts/{own}/entries/{entry}")
    assert (reply.status_code, reply.json()["type"]) == (404, "/problems/entry-not-found")


@pytest.mark.parametrize("entry_id", ["0", "-1", "9223372036854775808", "x"])
async def test_a_number_that_no_entry_can_have_is_rejected(desk: RunningApp, entry_id: str) -> None:
    reply = await desk.client.get(f"/v1/accounts/{await Trader(desk).open_account(None)}/entries/{entry_id}")
    assert reply.status_code == 422


async def test_unknown_members_are_rejected_because_they_are_often_typos(desk: RunningApp) -> None:
    account_id = await Trader(desk).open_account(None)
    body = {"amount": "1.00", "ammount": "hunter2"}
    reply = await desk.client.post(f"/v1/accounts/{account_id}/deposits", json=body)
    assert reply.status_code == 422
    assert "hunter2" not in reply.text
    assert re.search(r'"pointer":"/ammount"', reply.text)


async def test_every_deposit_has_its_other_side(own_desk: RunningApp) -> None:
    account_id = await Trader(own_desk).open_account("12.34")
    rows = await own_desk.sql("SELECT account_id, amount::text FROM ledger_entries ORDER BY amount")
    assert [(str(row["account_id"]), row["amount"]) for row in rows] == [
        (str(OUTSIDE_WORLD), "-12.34"),
        (account_id, "12.34"),
    ]
