"""Accounts hold the cash ledger: it is double entry, and money is a Decimal from wire to row."""
