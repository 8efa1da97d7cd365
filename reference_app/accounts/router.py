"""The ledger over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Response, status

from reference_app.accounts.models import Account
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
from reference_app.accounts.service import AccountService, Entry
from reference_app.identity.dependencies import ACCESS_PROBLEMS, requires
from reference_app.identity.tokens import Principal
from reference_app.infra.http.cache_control import CacheControl
from reference_app.infra.http.conditional import NOT_MODIFIED, Representation
from reference_app.infra.http.idempotency import (
    IDEMPOTENCY_PROBLEMS,
    idempotency_key,
    idempotency_problems,
    once_of,
    response_of,
)
from reference_app.infra.http.paging import Cursor, InvalidCursor, Page, PageSize, read_page
from reference_app.infra.http.routing import PrefixRouter
from reference_app.infra.http.state import AppRequest, service_of
from reference_app.patterns.idempotency_key import Reply
from reference_app.patterns.problem_details import InvalidRequest, documented

router = PrefixRouter(prefix="/v1/accounts", tags=["accounts"], responses=documented(*ACCESS_PROBLEMS))
routers = (router,)


Accounts = Annotated[AccountService, service_of(AccountService)]
Reader = Annotated[Principal, requires("accounts:read")]
Writer = Annotated[Principal, requires("accounts:write")]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=AccountOut,
    openapi_extra=idempotency_key(required=False),
    responses=documented(TooManyAccounts, InvalidRequest, *IDEMPOTENCY_PROBLEMS),
)
async def open_account(body: AccountIn, request: AppRequest, user: Writer, accounts: Accounts) -> Response:
    """Open an empty cash account; with an Idempotency-Key it is one a day, however often it is sent."""

    def opened(account: Account) -> Reply:
        location = request.app.url_path_for("read_account", account_id=str(account.id))
        return _created(AccountOut.model_validate(account), location)

    once = await once_of(request, opened)
    with idempotency_problems():
        return response_of(await accounts.open(user.id, body.name, once))


@router.get("", responses=documented(InvalidCursor))
async def list_accounts(
    request: AppRequest,
    response: Response,
    user: Reader,
    accounts: Accounts,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> Page[AccountOut]:
    """List your accounts."""
    return read_page(
        await accounts.accounts(user.id, cursor, limit), AccountOut.model_validate, request, response
    )


@router.get("/{account_id}", responses=documented(AccountNotFound))
async def read_account(account_id: AccountId, user: Reader, accounts: Accounts) -> AccountOut:
    """Return one account with its balance."""
    return AccountOut.model_validate(await accounts.account(user.id, account_id))


@router.post(
    "/{account_id}/deposits",
    status_code=status.HTTP_201_CREATED,
    response_model=EntryOut,
    openapi_extra=idempotency_key(required=False),
    responses=documented(AccountNotFound, BalanceTooLarge, InvalidRequest, *IDEMPOTENCY_PROBLEMS),
)
async def deposit(
    account_id: AccountId, body: MovementIn, request: AppRequest, user: Writer, accounts: Accounts
) -> Response:
    """Deposit money from the outside world; with an Idempotency-Key once a day, however often it is sent."""
    once = await once_of(request, _booked(request, account_id))
    with idempotency_problems():
        return response_of(await accounts.deposit(user.id, account_id, body.amount, once))


@router.post(
    "/{account_id}/withdrawals",
    status_code=status.HTTP_201_CREATED,
    response_model=EntryOut,
    openapi_extra=idempotency_key(required=False),
    responses=documented(AccountNotFound, InsufficientFunds, InvalidRequest, *IDEMPOTENCY_PROBLEMS),
)
async def withdraw(
    account_id: AccountId, body: MovementIn, request: AppRequest, user: Writer, accounts: Accounts
) -> Response:
    """Withdraw money, as far as the balance covers it; with an Idempotency-Key once, as a deposit."""
    once = await once_of(request, _booked(request, account_id))
    with idempotency_problems():
        return response_of(await accounts.withdraw(user.id, account_id, body.amount, once))


@router.get("/{account_id}/entries", responses=documented(AccountNotFound, InvalidCursor))
async def list_entries(
    account_id: AccountId,
    request: AppRequest,
    response: Response,
    user: Reader,
    accounts: Accounts,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> Page[EntryOut]:
    """List what happened to an account, oldest first."""
    return read_page(
        await accounts.entries(user.id, account_id, cursor, limit), EntryOut.model_validate, request, response
    )


@router.get(
    "/{account_id}/entries/{entry_id}",
    response_model=EntryOut,
    responses=NOT_MODIFIED | documented(AccountNotFound, EntryNotFound),
)
async def read_entry(
    account_id: AccountId, entry_id: EntryId, request: AppRequest, user: Reader, accounts: Accounts
) -> Response:
    """Return one entry of an account; an entry never changes."""
    entry = EntryOut.model_validate(await accounts.entry(user.id, account_id, entry_id))
    # An account itself has no Last-Modified: entries are timed when their transaction begins, and of two
    # at once the one that began first may be booked last. Its ETag is always right.
    representation = Representation.of(
        entry, cache_control=CacheControl.IMMUTABLE, last_modified=entry.posted_at
    )
    return representation.answer(request)


def _booked(request: AppRequest, account_id: AccountId) -> Callable[[Entry], Reply]:
    """Return what makes the reply of a movement of this account."""

    def render(entry: Entry) -> Reply:
        location = request.app.url_path_for("read_entry", account_id=str(account_id), entry_id=str(entry.id))
        return _created(EntryOut.model_validate(entry), location)

    return render


def _created(made: AccountOut | EntryOut, location: str) -> Reply:
    return Reply(status.HTTP_201_CREATED, made.model_dump_json().encode(), {"Location": str(location)})
