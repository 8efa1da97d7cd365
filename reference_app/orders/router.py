"""Orders over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Response, status

from reference_app.accounts.problems import AccountNotFound, InsufficientFunds
from reference_app.identity.dependencies import ACCESS_PROBLEMS, requires
from reference_app.identity.tokens import Principal
from reference_app.infra.conditional import NOT_MODIFIED, settled
from reference_app.infra.paging import Cursor, InvalidCursor, Page, PageSize, read_page
from reference_app.infra.problems import PreconditionFailed, PreconditionRequired
from reference_app.infra.routing import PrefixRouter
from reference_app.infra.state import AppState
from reference_app.market.problems import InstrumentNotFound, QuoteUnavailable
from reference_app.orders.problems import (
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    NoLimitPrice,
    OrderIsFinal,
    OrderNotFound,
    QuantityAlreadyFilled,
    RequestInProgress,
)
from reference_app.orders.schemas import AmendmentIn, OrderId, OrderIn, OrderOut
from reference_app.orders.service import OrderRow, OrderService
from reference_app.patterns.conditional_request import Preconditions, Validators, etag
from reference_app.patterns.idempotency_key import IdempotencyError, Reply, fingerprint, parse_key
from reference_app.patterns.optimistic_version import VersionConflict
from reference_app.patterns.problem_details import InvalidRequest, documented
from reference_app.portfolio.problems import InsufficientPosition

router = PrefixRouter(prefix="/orders", tags=["orders"], responses=documented(*ACCESS_PROBLEMS))

#: Only the user may keep it, and must ask whether it is still true.
CACHE_CONTROL = "private, no-cache"


class OrdersState(AppState):
    """What the lifespan makes for orders."""

    orders: OrderService


class OrdersRequest(Request[OrdersState]):
    """As `AppRequest`, with the state of orders."""


async def order_service(request: OrdersRequest) -> OrderService:
    """Return the service of this app."""
    return request.state["orders"]


Orders = Annotated[OrderService, Depends(order_service)]
Reader = Annotated[Principal, requires("orders:read")]
Writer = Annotated[Principal, requires("orders:write")]

#: Read from the request: the draft asks for 400 where it is missing, and FastAPI would answer 422.
IDEMPOTENCY_KEY: dict[str, Any] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "description": "Chosen by you, new for each order, the same when you send that order again.",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.:~-]{1,255}$"},
            "example": "8e03978e-40d5-43e8",
        }
    ]
}
IF_MATCH: dict[str, Any] = {
    "parameters": [
        {
            "name": "If-Match",
            "in": "header",
            "required": True,
            "description": "The ETag of the order as you have seen it.",
            "schema": {"type": "string", "pattern": '^("[!#-~]{1,100}"|\\\\*)$'},
        }
    ]
}


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=OrderOut,
    openapi_extra=IDEMPOTENCY_KEY,
    responses=documented(
        InvalidIdempotencyKey, AccountNotFound, InstrumentNotFound, InsufficientFunds, InsufficientPosition,
        RequestInProgress, IdempotencyKeyReused, InvalidRequest, QuoteUnavailable,
    ),
)  # fmt: skip
async def place_order(body: OrderIn, request: Request, user: Writer, orders: Orders) -> Response:
    """Place an order: once, however often it is sent with the same key within a day."""
    target = f"{request.url.path}?{request.url.query}"
    sent = fingerprint("POST", target, await request.body())
    try:
        key = parse_key(request.headers.getlist("idempotency-key"))
        reply = await orders.place(user.id, body, key=key, sent=sent, render=_created)
    except IdempotencyError as error:
        raise _idempotency_problem(error) from None
    headers = {**reply.headers, "Cache-Control": CACHE_CONTROL}
    if reply.replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response(reply.body, reply.status, headers, "application/json")


@router.get("", responses=documented(InvalidCursor))
async def list_orders(
    request: Request,
    response: Response,
    user: Reader,
    orders: Orders,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> Page[OrderOut]:
    """List your orders, newest first."""
    response.headers["Cache-Control"] = CACHE_CONTROL
    return read_page(await orders.orders(user.id, cursor, limit), OrderOut.of, request, response)


@router.get("/{order_id}", response_model=OrderOut, responses=NOT_MODIFIED | documented(OrderNotFound))
async def read_order(order_id: OrderId, request: Request, user: Reader, orders: Orders) -> Response:
    """Return one of your orders, with the ETag that amending it needs."""
    order = await orders.order(user.id, order_id)
    Preconditions(request).check(_validators(order), headers={"Cache-Control": CACHE_CONTROL})
    return _reply(order)


@router.patch(
    "/{order_id}",
    response_model=OrderOut,
    openapi_extra=IF_MATCH,
    responses=documented(
        OrderNotFound, OrderIsFinal, QuantityAlreadyFilled, NoLimitPrice, InsufficientFunds,
        InsufficientPosition, PreconditionFailed, PreconditionRequired,
    ),
)  # fmt: skip
async def amend_order(
    order_id: OrderId, body: AmendmentIn, request: Request, user: Writer, orders: Orders
) -> Response:
    """Change quantity or limit price of an order that is not final, in the version that you have seen."""
    preconditions = Preconditions(request)

    def check(order: OrderRow) -> None:
        preconditions.check(_validators(order), required=True)

    try:
        return _reply(await orders.amend(user.id, order_id, body.changes(), check))
    except VersionConflict:
        raise PreconditionFailed("The order was changed at this moment: read it, then try again.") from None


@router.post(
    "/{order_id}/cancel",
    response_model=OrderOut,
    responses=documented(OrderNotFound, OrderIsFinal, PreconditionFailed),
)
async def cancel_order(order_id: OrderId, request: Request, user: Writer, orders: Orders) -> Response:
    """Cancel what is not filled of an order; If-Match is heeded and not needed."""
    preconditions = Preconditions(request)

    def check(order: OrderRow) -> None:
        preconditions.check(_validators(order))

    return _reply(await orders.cancel(user.id, order_id, check))


def _validators(order: OrderRow) -> Validators:
    return Validators(etag("order", order.id, order.version), settled(order.updated_at))


def _reply(order: OrderRow) -> Response:
    headers = {"Cache-Control": CACHE_CONTROL, **_validators(order).headers()}
    return Response(OrderOut.of(order).json(), headers=headers, media_type="application/json")


def _created(order: OrderRow) -> Reply:
    headers = {"Location": f"/v1/orders/{order.id}", **_validators(order).headers()}
    return Reply(201, OrderOut.of(order).json(), headers)


def _idempotency_problem(
    error: IdempotencyError,
) -> InvalidIdempotencyKey | RequestInProgress | IdempotencyKeyReused:
    if error.status == status.HTTP_409_CONFLICT:
        return RequestInProgress(str(error), {"Retry-After": "1"})
    if error.status == status.HTTP_422_UNPROCESSABLE_CONTENT:
        return IdempotencyKeyReused(str(error))
    return InvalidIdempotencyKey(str(error))
