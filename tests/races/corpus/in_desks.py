"""All cases about small desks; each truth was committed before any of them was explored."""

from corpus import (
    desk_bookings,
    desk_caches,
    desk_cancelled_holders,
    desk_copies,
    desk_dependencies,
    desk_idempotency,
    desk_lock_scopes,
    desk_locks,
    desk_maintenance,
    desk_queues,
    desk_signals,
    desk_tasks,
    desk_threads,
    desk_withdrawals,
)

_FILES = (
    desk_bookings,
    desk_caches,
    desk_cancelled_holders,
    desk_copies,
    desk_dependencies,
    desk_idempotency,
    desk_lock_scopes,
    desk_locks,
    desk_maintenance,
    desk_queues,
    desk_signals,
    desk_tasks,
    desk_threads,
    desk_withdrawals,
)
DESKS = [case for file in _FILES for case in file.CASES]
