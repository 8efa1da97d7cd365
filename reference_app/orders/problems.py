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
