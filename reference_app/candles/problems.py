"""What the candles can refuse."""

from __future__ import annotations

from reference_app.patterns.problem_details import Problem


class NoQuote(Problem):
    """The instrument has no price yet."""

    type, title, status = "/problems/no-quote", "The instrument has no price yet", 404


class ImportRejected(Problem):
    """Too many rows are no candles, or the upload is no list of candles at all; nothing was saved."""

    type, title, status = "/problems/import-rejected", "The import was rejected", 422


class TransferBusy(Problem):
    """As many imports or exports as this worker can bear are running."""

    type, title, status = "/problems/transfer-busy", "Too many imports or exports are running", 503


class UnsupportedMediaType(Problem):
    """The body is neither CSV nor JSON Lines."""

    title, status = "Unsupported Media Type", 415
