"""What orders can refuse."""

from __future__ import annotations

from reference_app.patterns.problem_details import Problem


class OrderNotFound(Problem):
    """The user has no order with this id."""

    type, title, status = "/problems/order-not-found", "Order not found", 404


class OrderIsFinal(Problem):
    """The order is filled, cancelled or rejected: nothing about it can change any more."""

    type, title, status = "/problems/order-is-final", "The order is final", 409


class QuantityAlreadyFilled(Problem):
    """The new quantity is not above what has been filled already."""

    type, title, status = "/problems/quantity-already-filled", "So much is filled already", 409


class NoLimitPrice(Problem):
    """The order is a market order, which has no limit price to change."""

    type, title, status = "/problems/no-limit-price", "A market order has no limit price", 409


class InvalidIdempotencyKey(Problem):
    """`Idempotency-Key` is missing, or no key. Send one for each order, such as a UUID."""

    type, title, status = "/problems/invalid-idempotency-key", "The idempotency key is not valid", 400


class RequestInProgress(Problem):
    """A request with this idempotency key is being served at this moment; try again for its reply."""

    type, title, status = "/problems/request-in-progress", "The request is in progress", 409


class IdempotencyKeyReused(Problem):
    """The idempotency key belongs to another request; take a new one."""

    type, title, status = "/problems/idempotency-key-reused", "The idempotency key is used", 422
