"""Match orders until SIGTERM: `python -m reference_app.orders.matcher`. Run as many of these as you need.

Each takes jobs that no other has (SKIP LOCKED), so several processes share the work, and none gets the job of
another. One that is killed loses nothing: its job is free again when its lease is over.
"""

from __future__ import annotations

import asyncio
import logging

from reference_app.infra.process.background import run_process
from reference_app.infra.process.resources import Resources
from reference_app.market.service import open_service as open_market
from reference_app.orders.matching import Matching
from reference_app.patterns.idempotency_key import IdempotencyKeys
from reference_app.patterns.skip_locked_queue import JobQueue

#: An accepted order is an obligation: its job is tried until it succeeds, at least every five minutes. With
#: the queue's own limit, a database that is away for half a minute would end orders that have their 201.
#: What fails again and again is seen with `python -m reference_app.operator orders list`.
NEVER_GIVEN_UP = 2**31 - 1
PURGE_INTERVAL_S = 60.0
PURGE_BATCH = 1000


async def match(resources: Resources) -> None:
    """Work on jobs with several tasks, and delete expired idempotency keys every minute."""
    settings, sessions = resources["settings"], resources["sessions"]
    queue = JobQueue(
        sessions,
        handler_timeout_s=settings.matcher_lease_s / 2,
        lease_s=settings.matcher_lease_s,
        max_tries=NEVER_GIVEN_UP,
    )
    async with open_market(resources) as market, asyncio.TaskGroup() as group:
        matching = Matching(market, look_again_s=settings.matcher_look_again_s)
        for _ in range(settings.matcher_tasks):
            group.create_task(queue.work(matching, poll_interval_s=settings.matcher_poll_interval_s))
        group.create_task(_purge(IdempotencyKeys(sessions)))


async def _purge(keys: IdempotencyKeys) -> None:
    while True:
        try:
            while await keys.purge(PURGE_BATCH) == PURGE_BATCH:
                pass  # Keys go in batches: one DELETE of a day's keys would hold its locks for long.
        except Exception:  # The database may be restarting; the keys wait until the next time.
            logging.getLogger(__name__).exception("idempotency keys could not be purged")
        await asyncio.sleep(PURGE_INTERVAL_S)


def main() -> None:
    """Match the orders of the database that DATABASE_URL names."""
    run_process("matcher", match)


if __name__ == "__main__":
    main()
