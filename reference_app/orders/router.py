"""Orders over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import Request, Response, status

from reference_app.accounts.problems import AccountNotFound, InsufficientFunds
from reference_app.identity.dependencies import ACCESS_PROBLEMS, requires
from reference_app.identity.tokens import Principal
from reference_app.infra.http.cache_control import CacheControl, set_cache_control
from reference_app.infra.http.conditional import (
    NOT_MODIFIED,
    VERSION_PROBLEMS,
    Representation,
    conflicts_refused,
    if_match,
    settled,
    version_check,
)
from reference_app.infra.http.idempotency import (
    IDEMPOTENCY_PROBLEMS,
    idempotency_key,
    idempotency_problems,
    once_of,
    response_of,
)
from reference_app.infra.http.paging import Cursor, InvalidCursor, Page, PageSize, read_page
from reference_app.infra.http.problems import PreconditionFailed
from reference_app.infra.http.routing import PrefixRouter
from reference_app.infra.http.state import service_of
from reference_app.market.problems import InstrumentNotFound, QuoteUnavailable
from reference_app.orders.models import OrderRow
from reference_app.orders.problems import (
    NoLimitPrice,
    OrderIsFinal,
    OrderNotFound,
    QuantityAlreadyFilled,
)
from reference_app.orders.schemas import AmendmentIn, OrderId, OrderIn, OrderOut
from reference_app.orders.service import OrderService
from reference_app.patterns.conditional_request import Validators, etag
from reference_app.patterns.idempotency_key import Reply
from reference_app.patterns.problem_details import InvalidRequest, documented
from reference_app.portfolio.problems import InsufficientPosition

router = PrefixRouter(prefix="/v1/orders", tags=["orders"], responses=documented(*ACCESS_PROBLEMS))
routers = (router,)

Orders = Annotated[OrderService, service_of(OrderService)]
Reader = Annotated[Principal, requires("orders:read")]
Writer = Annotated[Principal, requires("orders:write")]

#: The user's word for what may have changed.
ORDER = "order"


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=OrderOut,
    openapi_extra=idempotency_key(required=True),
    responses=documented(
        *IDEMPOTENCY_PROBLEMS, AccountNotFound, InstrumentNotFound, InsufficientFunds, InsufficientPosition,
        InvalidRequest, QuoteUnavailable,
    ),
)  # fmt: skip
async def place_order(body: OrderIn, request: Request, user: Writer, orders: Orders) -> Response:
    """Place an order: once, however often it is sent with the same key within a day."""
    once = await once_of(request, _created, required=True)
    with idempotency_problems():
        reply = await orders.place(user.id, body.order(), once)
    return response_of(reply, CacheControl.ASK_AGAIN)


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
    set_cache_control(response, CacheControl.ASK_AGAIN)
    return read_page(await orders.orders(user.id, cursor, limit), OrderOut.of, request, response)


@router.get("/{order_id}", response_model=OrderOut, responses=NOT_MODIFIED | documented(OrderNotFound))
async def read_order(order_id: OrderId, request: Request, user: Reader, orders: Orders) -> Response:
    """Return one of your orders, with the ETag that amending it needs."""
    return _representation(await orders.order(user.id, order_id)).answer(request)


@router.patch(
    "/{order_id}",
    response_model=OrderOut,
    openapi_extra=if_match(ORDER, required=True),
    responses=documented(
        OrderNotFound, OrderIsFinal, QuantityAlreadyFilled, NoLimitPrice, InsufficientFunds,
        InsufficientPosition, *VERSION_PROBLEMS,
    ),
)  # fmt: skip
async def amend_order(
    order_id: OrderId, body: AmendmentIn, request: Request, user: Writer, orders: Orders
) -> Response:
    """Change quantity or limit price of an order that is not final, in the version that you have seen."""
    check = version_check(request, _validators, required=True)
    with conflicts_refused(ORDER):
        return _representation(await orders.amend(user.id, order_id, body.amendment(), check)).reply()


@router.post(
    "/{order_id}/cancel",
    response_model=OrderOut,
    responses=documented(OrderNotFound, OrderIsFinal, PreconditionFailed),
)
async def cancel_order(order_id: OrderId, request: Request, user: Writer, orders: Orders) -> Response:
    """Cancel what is not filled of an order; If-Match is heeded and not needed."""
    check = version_check(request, _validators)
    return _representation(await orders.cancel(user.id, order_id, check)).reply()


def _validators(order: OrderRow) -> Validators:
    return Validators(etag("order", order.id, order.version), settled(order.updated_at))


def _representation(order: OrderRow) -> Representation:
    return Representation(OrderOut.of(order).json(), _validators(order))


def _created(order: OrderRow) -> Reply:
    representation = _representation(order)
    headers = {"Location": f"/v1/orders/{order.id}", **representation.validators.headers()}
    return Reply(status.HTTP_201_CREATED, representation.body, headers)
