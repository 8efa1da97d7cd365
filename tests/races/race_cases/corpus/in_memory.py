"""All cases that need no server."""

from race_cases.corpus import (
    cancellation,
    names_and_caches,
    one_account,
    seats_and_jobs,
    time_and_leases,
    two_accounts,
)

_FILES = (one_account, two_accounts, names_and_caches, seats_and_jobs, cancellation, time_and_leases)
IN_MEMORY = [case for file in _FILES for case in file.CASES]
