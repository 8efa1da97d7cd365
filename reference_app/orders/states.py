"""The life of an order as an explicit machine.

    pending -> open, filled, cancelled, rejected
    open    -> open (partly filled, or amended), filled, cancelled

Pending: accepted, no matcher has looked at it yet. Open: it waits in the book. The other three are final:
the database refuses to change such a row (migration `0004_orders`).
"""

from __future__ import annotations

import enum


class OrderState(enum.StrEnum):
    """Where an order is in its life."""

    PENDING = "pending"
    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


#: The states that may follow each state.
TRANSITIONS: dict[OrderState, frozenset[OrderState]] = {
    OrderState.PENDING: frozenset(OrderState),
    OrderState.OPEN: frozenset({OrderState.OPEN, OrderState.FILLED, OrderState.CANCELLED}),
    OrderState.FILLED: frozenset(),
    OrderState.CANCELLED: frozenset(),
    OrderState.REJECTED: frozenset(),
}
ACTIVE = frozenset(state for state, following in TRANSITIONS.items() if following)


class ImpossibleTransition(Exception):
    """The machine has no such step: a fault of the code that asked for it."""


def step(current: str, following: OrderState) -> OrderState:
    """Return the state that follows, if the machine has that step.

    Raises:
        ImpossibleTransition: The machine has no such step.
    """
    if following not in TRANSITIONS[OrderState(current)]:
        raise ImpossibleTransition(f"an order that is {current} cannot become {following}")
    return following
