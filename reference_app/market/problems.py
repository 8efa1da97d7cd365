"""What the market can refuse."""

from __future__ import annotations

from reference_app.patterns.problem_details import Problem


class InstrumentNotFound(Problem):
    """No instrument has this symbol."""

    type, title, status = "/problems/instrument-not-found", "Instrument not found", 404


class QuoteUnavailable(Problem):
    """The exchange gives no quote now, and there is no older one that could still be shown."""

    type, title, status = "/problems/quote-unavailable", "The exchange gives no quote now", 503
