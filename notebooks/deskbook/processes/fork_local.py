"""A global that a forked child does not share with its parent."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ForkLocal(Generic[T]):
    """Something of this process alone, such as its open connections; a forked child gets a new one.

    Args:
        make: Makes the value, here and once more in each forked child. It must not fail.

    Attributes:
        inherited: What the parents of a forked child held. It is kept on purpose: to drop it would close
            descriptors that the child may still need, or end something that belongs to the parent.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._value = make()
        self.inherited: list[T] = []
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def get(self) -> T:
        """Return the value of this process."""
        return self._value

    def _renew(self) -> None:
        self.inherited.append(self._value)
        self._value = self._make()
