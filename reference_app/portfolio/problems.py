"""What the portfolio can refuse."""

from __future__ import annotations

from reference_app.patterns.problem_details import Problem


class InsufficientPosition(Problem):
    """The account has fewer shares than the order would sell, those of its other orders left out."""

    type, title, status = "/problems/insufficient-position", "Not enough shares", 409
