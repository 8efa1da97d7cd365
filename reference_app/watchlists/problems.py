"""What watchlists can refuse."""

from __future__ import annotations

from reference_app.patterns.problem_details import Problem


class WatchlistNotFound(Problem):
    """You have no watchlist with this id; whether somebody else has one is not said."""

    type, title, status = "/problems/watchlist-not-found", "Watchlist not found", 404


class UnknownInstrument(Problem):
    """The list names a symbol of which there is no instrument; nothing was changed."""

    type, title, status = "/problems/unknown-instrument", "The list names an unknown instrument", 422
