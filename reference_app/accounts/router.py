"""The ledger over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response, status

from reference_app.accounts.problems import AccountNotFound, BalanceTooLarge, EntryNotFound, InsufficientFunds
from reference_app.accounts.schemas import (
    AccountId,
    AccountIn,
    AccountOut,
    EntryId,
    EntryOut,
    MovementIn,
    entry_key,
)
from reference_app.accounts.service import AccountService
from reference_app.infra.paging import (
    Cursor,
    InvalidCursor,
    Page,
    PageSize,
    decode_cursor,
    encode_cursor,
    link_next,
)
from reference_app.infra.state import AppRequest
from reference_app.patterns.problem_details import documented

router = APIRouter(prefix="/accounts", tags=["accounts"])


async def account_service(request: AppRequest) -> AccountService:
    """Return the service of this app."""
    return AccountService(request.state["sessions"])


Accounts = Annotated[AccountService, Depends(account_service)]


@router.post("", status_code=status.HTTP_201_CREATED)
async def open_account(
    body: AccountIn, request: AppRequest, response: Response, accounts: Accounts
) -> AccountOut:
    """Open an empty cash account."""
    account = await accounts.open(body.name)
    response.headers["Location"] = request.app.url_path_for("read_account", account_id=str(account.id))
    return AccountOut.model_validate(account)


@router.get("/{account_id}", responses=documented(AccountNotFound))
async def read_account(account_id: AccountId, accounts: Accounts) -> AccountOut:
    """Return one account with its balance."""
    return AccountOut.model_validate(await accounts.account(account_id))


@router.post(
    "/{account_id}/deposits",
    status_code=status.HTTP_201_CREATED,
    responses=documented(AccountNotFound, BalanceTooLarge),
)
async def deposit(
    account_id: AccountId, body: MovementIn, request: AppRequest, response: Response, accounts: Accounts
) -> EntryOut:
    """Deposit money from the outside world."""
    entry = EntryOut.model_validate(await accounts.deposit(account_id, body.amount))
    response.headers["Location"] = _location(request, account_id, entry)
    return entry


@router.post(
    "/{account_id}/withdrawals",
    status_code=status.HTTP_201_CREATED,
    responses=documented(AccountNotFound, InsufficientFunds),
)
async def withdraw(
    account_id: AccountId, body: MovementIn, request: AppRequest, response: Response, accounts: Accounts
) -> EntryOut:
    """Withdraw money to the outside world, as far as the balance covers it."""
    entry = EntryOut.model_validate(await accounts.withdraw(account_id, body.amount))
    response.headers["Location"] = _location(request, account_id, entry)
    return entry


@router.get("/{account_id}/entries", responses=documented(AccountNotFound, InvalidCursor))
async def list_entries(
    account_id: AccountId,
    request: AppRequest,
    response: Response,
    accounts: Accounts,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> Page[EntryOut]:
    """List what happened to an account, oldest first."""
    rows, more = await accounts.entries(account_id, decode_cursor(cursor, entry_key), limit)
    next_cursor = encode_cursor(rows[-1].id) if more else None
    link_next(request, response, next_cursor)
    return Page(items=[EntryOut.model_validate(row) for row in rows], next_cursor=next_cursor)


@router.get("/{account_id}/entries/{entry_id}", responses=documented(AccountNotFound, EntryNotFound))
async def read_entry(account_id: AccountId, entry_id: EntryId, accounts: Accounts) -> EntryOut:
    """Return one entry of an account."""
    return EntryOut.model_validate(await accounts.entry(account_id, entry_id))


def _location(request: AppRequest, account_id: AccountId, entry: EntryOut) -> str:
    return str(request.app.url_path_for("read_entry", account_id=str(account_id), entry_id=str(entry.id)))
