"""What the ledger can refuse."""

from __future__ import annotations

from reference_app.patterns.problem_details import Problem


class AccountNotFound(Problem):
    """No account has this id."""

    type, title, status = "/problems/account-not-found", "Account not found", 404


class EntryNotFound(Problem):
    """The account has no entry with this id."""

    type, title, status = "/problems/entry-not-found", "Entry not found", 404


class InsufficientFunds(Problem):
    """The withdrawal would take the balance below its limit; nothing was booked."""

    type, title, status = "/problems/insufficient-funds", "Insufficient funds", 409


class TooManyAccounts(Problem):
    """The user has as many accounts as the desk gives to one; none was opened."""

    type, title, status = "/problems/too-many-accounts", "Too many accounts", 409


class BalanceTooLarge(Problem):
    """The deposit would take the balance above what the ledger can hold; nothing was booked."""

    type, title, status = "/problems/balance-too-large", "The balance would become too large", 409
