"""The cash ledger: double entry, Decimal from wire to row."""
