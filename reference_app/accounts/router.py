"""The ledger over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Response, status

from reference_app.accounts.problems import (
    AccountNotFound,
    BalanceTooLarge,
    EntryNotFound,
    InsufficientFunds,
    TooManyAccounts,
)
from reference_app.accounts.schemas import (
    AccountId,
    AccountIn,
    AccountOut,
    EntryId,
    EntryOut,
    MovementIn,
)
from reference_app.accounts.service import AccountService
from reference_app.identity.dependencies import ACCESS_PROBLEMS, requires
from reference_app.identity.tokens import Principal
from reference_app.infra.conditional import NOT_MODIFIED, Representation
from reference_app.infra.paging import Cursor, InvalidCursor, Page, PageSize, read_page
from reference_app.infra.routing import PrefixRouter
from reference_app.infra.state import AppRequest
from reference_app.patterns.problem_details import documented

router = PrefixRouter(prefix="/accounts", tags=["accounts"], responses=documented(*ACCESS_PROBLEMS))


def _service(request: AppRequest, user: Principal) -> AccountService:
    state = request.state
    return AccountService(state["sessions"], user.id, state["serializable"], state["settings"].max_accounts)


async def reading(
    request: AppRequest, user: Annotated[Principal, requires("accounts:read")]
) -> AccountService:
    """Return the service for who may read."""
    return _service(request, user)


async def writing(
    request: AppRequest, user: Annotated[Principal, requires("accounts:write")]
) -> AccountService:
    """Return the service for who may move money."""
    return _service(request, user)


Accounts = Annotated[AccountService, Depends(reading)]
WritableAccounts = Annotated[AccountService, Depends(writing)]


@router.post("", status_code=status.HTTP_201_CREATED, responses=documented(TooManyAccounts))
async def open_account(
    body: AccountIn, request: AppRequest, response: Response, accounts: WritableAccounts
) -> AccountOut:
    """Open an empty cash account."""
    account = await accounts.open(body.name)
    response.headers["Location"] = request.app.url_path_for("read_account", account_id=str(account.id))
    return AccountOut.model_validate(account)


@router.get("", responses=documented(InvalidCursor))
async def list_accounts(
    request: AppRequest, response: Response, accounts: Accounts, limit: PageSize = 100, cursor: Cursor = None
) -> Page[AccountOut]:
    """List your accounts."""
    return read_page(await accounts.accounts(cursor, limit), AccountOut.model_validate, request, response)


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
    account_id: AccountId,
    body: MovementIn,
    request: AppRequest,
    response: Response,
    accounts: WritableAccounts,
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
    account_id: AccountId,
    body: MovementIn,
    request: AppRequest,
    response: Response,
    accounts: WritableAccounts,
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
    return read_page(
        await accounts.entries(account_id, cursor, limit), EntryOut.model_validate, request, response
    )


@router.get(
    "/{account_id}/entries/{entry_id}",
    response_model=EntryOut,
    responses=NOT_MODIFIED | documented(AccountNotFound, EntryNotFound),
)
async def read_entry(
    account_id: AccountId, entry_id: EntryId, request: AppRequest, accounts: Accounts
) -> Response:
    """Return one entry of an account; an entry never changes."""
    entry = EntryOut.model_validate(await accounts.entry(account_id, entry_id))
    # An account itself has no Last-Modified: entries are timed when their transaction begins, and of two
    # at once the one that began first may be booked last. Its ETag is always right.
    representation = Representation.of(
        entry, cache_control="private, max-age=86400, immutable", last_modified=entry.posted_at
    )
    return representation.answer(request)


def _location(request: AppRequest, account_id: AccountId, entry: EntryOut) -> str:
    return str(request.app.url_path_for("read_entry", account_id=str(account_id), entry_id=str(entry.id)))
