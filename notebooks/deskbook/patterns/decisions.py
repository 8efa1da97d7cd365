"""Which one of several? The crowded corners of the catalogue, as tables for the index."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """A question, and a row for each situation: (what is so, what to take, why).

    Names of patterns stand in backticks; a test compares them with the files.
    """

    question: str
    advice: str
    rows: tuple[tuple[str, str, str], ...]


DECISIONS = (
    Decision(
        "Which lock?",
        "The best lock is none. Go down the table and take the first row that fits.",
        (
            (
                "one statement can do it",
                "no lock: `UPDATE ... SET x = x - 1 WHERE x > 0`",
                "the database does it at once",
            ),
            (
                "people edit the same thing for minutes",
                "`optimistic_version`, `conditional_request` over HTTP",
                "a lock cannot be held while somebody thinks",
            ),
            (
                "there is a row, and many want it",
                "`SELECT ... FOR UPDATE` in a short transaction",
                "who waits gets its turn and needs no retry",
            ),
            ("rows are jobs, any will do", "`skip_locked_queue`", "nobody waits for a row that is taken"),
            (
                "a rule spans several rows",
                "`serializable_retry`",
                "no lock on one row sees a row that is missing",
            ),
            ("there is no row to lock", "`advisory_lock`", "a name is locked, and goes with the transaction"),
            ("memory of one process", "`keyed_lock`", "other workers do not see it"),
            (
                "workers, and the thing is outside of the database",
                "`fencing_lock`",
                "a lease ends while its holder believes in it: what is guarded must check the token",
            ),
        ),
    ),
    Decision(
        "Which cache?",
        "First ask whether the client or a proxy can keep the answer.",
        (
            (
                "the client asks again for the same thing",
                "`conditional_request`: ETag and 304",
                "no body, and nothing to invalidate here",
            ),
            (
                "small, the same for all, may differ between workers for a while",
                "`ttl_cache`",
                "no network; each worker has its own",
            ),
            (
                "all workers must see a change at once",
                "`redis_cache`",
                "a network call each, and rules for its outage",
            ),
            (
                "slow to load, and an old value is better than a wait",
                "`stale_while_revalidate`",
                "one refresh in the background, nobody waits",
            ),
            (
                "many ask at once and nothing is kept",
                "`single_flight`",
                "the work is done once; put it before either cache",
            ),
            (
                "it must be right now: a balance, a limit",
                "no cache",
                "read the row in the transaction that uses it",
            ),
        ),
    ),
    Decision(
        "Which retry?",
        "Retry in one layer only: three layers with three tries each are 27 calls.",
        (
            (
                "40001 or 40P01 from PostgreSQL",
                "`serializable_retry`",
                "the whole transaction runs again, not the statement",
            ),
            (
                "412 or a version that has changed",
                "`optimistic_version`",
                "read again and decide again: the reason may be gone",
            ),
            (
                "a client repeats a POST whose reply was lost",
                "`idempotency_key`",
                "the second one gets the reply of the first",
            ),
            ("a message after a commit", "`outbox`", "at least once, in the order of the commits"),
            (
                "a dependency is slow or down",
                "`circuit_breaker` around `stamina`",
                "retries make an outage longer; the breaker ends them",
            ),
            (
                "this service is overloaded",
                "`load_shedding`: 503 with Retry-After",
                "who is told when to come back need not guess",
            ),
            (
                "a job whose worker died",
                "`skip_locked_queue`",
                "the row is free again when its transaction ends",
            ),
        ),
    ),
    Decision(
        "Which limit?",
        "Each protects something else, so a service may need several.",
        (
            ("one caller takes more than its share", "`rate_limit`", "by caller, over all workers; 429"),
            (
                "all callers together are too many",
                "`load_shedding`",
                "by what runs here; 503 at once instead of late",
            ),
            ("one request starts many calls", "`bounded_fan_out`", "one limit for all requests together"),
            (
                "work is started and not awaited",
                "`task_registry`",
                "what is too much is refused, and the rest ends before the service",
            ),
            (
                "a listener does not keep up",
                "`broadcaster`",
                "it loses messages or the connection, the others nothing",
            ),
            ("a costly object, so many at most", "`object_pool`", "who waits in vain is told in time"),
        ),
    ),
)
