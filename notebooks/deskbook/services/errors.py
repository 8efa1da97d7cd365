"""The one exception of this package."""

from __future__ import annotations


class ServicesError(Exception):
    """A server cannot be had; the message says what happened and what to do next. It never holds a password."""
