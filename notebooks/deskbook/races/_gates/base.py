"""What all gates share: who stands at the gate, what is on its way, and what blocks."""

from __future__ import annotations

import abc
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from deskbook.races._errors import Diverged
from deskbook.races._schedule import Step
from deskbook.races._subject.actors import REQUEST, Actors

#: Seconds of real time that the server may take to end what was cancelled.
FREED_AFTER_S = 20.0


@dataclass
class Operation:
    """One statement or command of an actor.

    Attributes:
        actor: Who sends it.
        label: Its text.
        session: What the server knows the connection by (a backend pid), or None.
        may_block_s: Seconds after which a command that waits by design counts as blocked, or None.
        go: A future, or a `ThreadTurn`, that is set when the search lets it through.
        sent_at_s: When it was let through, as `time.monotonic` counts.
        blocked_by: Sessions that it waits for, as the server says.
        is_blocked: Whether the server, or a command that waits by design, holds it.
    """

    actor: Step
    label: str
    session: Any
    may_block_s: float | None
    go: Any
    sent_at_s: float = 0.0
    blocked_by: tuple[Any, ...] = ()
    is_blocked: bool = False


@dataclass
class Table:
    """The state of one run: who waits at the gate and what is under way.

    Attributes:
        waiting: Actor -> operation that stands at the gate.
        running: Actor -> operation that was let through and has not returned.
        sessions: Session -> the actor that used it last.
        thread_calls: Calls in worker threads that have not come back.
        gated_packages: Client libraries that the gate stops; threads may use them.
        ungated: What reached a server without a gate, as sentences for the report.
        changed: Set whenever an entry changes.
        actors: The names of the tasks.
        surprises: What moved although no step was taken.
        may_move: Whether a step is being taken.
    """

    waiting: dict[Step, Operation] = field(default_factory=dict)
    running: dict[Step, Operation] = field(default_factory=dict)
    sessions: dict[Any, Step] = field(default_factory=dict)
    thread_calls: set[Any] = field(default_factory=set)
    gated_packages: frozenset[str] = frozenset()
    ungated: set[str] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    actors: Actors = field(default_factory=Actors)
    surprises: list[str] = field(default_factory=list)
    may_move: bool = True


class Gate(abc.ABC):
    """The door between the service and a server. Subclasses hook a client library.

    A gate can be used for one search at a time.
    """

    #: What a step is, for the report.
    level = "every statement"
    #: The client library that it stops.
    seam = ""
    #: Its packages, where it may be used in worker threads.
    packages: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.table: Table | None = None
        #: Sessions that may still hold locks although their client has turned away: an operation was
        #: cancelled, or the connection was given up.
        self.turned_away: set[Any] = set()
        #: What the gate could not follow, as sentences for the report.
        self.notes: set[str] = set()

    @abc.abstractmethod
    def install(self) -> None:
        """Hook the client library."""

    @abc.abstractmethod
    def remove(self) -> None:
        """Undo `install`."""

    async def open(self) -> None:  # noqa: B027 - a gate need not watch its server
        """Connect what the gate itself needs to watch the server."""

    async def close(self) -> None:  # noqa: B027
        """Close what `open` connected."""

    async def blockers(self, sessions: Iterable[Any]) -> dict[Any, tuple[Any, ...]]:
        """Return, for sessions that wait for a lock, the sessions that hold it."""
        return {}

    async def still_at_work(self, sessions: Iterable[Any]) -> set[Any]:
        """Return those of the sessions whose cancelled work, or whose end, the server has not finished."""
        return set()

    async def wait_until_freed(self) -> bool:
        """Wait until the server has finished with every session that its client turned away from.

        A cancelled task goes on at once, but the server learns of it by a message of its own, and frees the
        locks when it gets to it. A step that is taken in between finds the locks held in one run and free in
        the next.

        Returns:
            Whether there was any such session.

        Raises:
            Diverged: If the server does not finish.
        """
        found = bool(self.turned_away)
        deadline = time.monotonic() + FREED_AFTER_S
        pause_s = 0.0005
        while self.turned_away:
            self.turned_away &= await self.still_at_work(self.turned_away)
            if self.turned_away:
                if time.monotonic() > deadline:
                    raise Diverged(
                        f"the server still works for a cancelled request after {FREED_AFTER_S:g} s"
                    )
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.02)
        return found

    def actor(self) -> Step | None:
        """Return the request or task that calls, or None outside of the explored region."""
        table = self.table
        request = REQUEST.get()
        if table is None or request is None:
            return None
        return table.actors.step_of(asyncio.current_task(), request)

    async def pass_through(
        self,
        label: str,
        session: Any,
        send: Callable[[], Awaitable[Any]],
        *,
        may_block_s: float | None = None,
        is_choice: bool = True,
    ) -> Any:
        """Wait for the search, then send an operation and note when it has returned.

        Args:
            label: The text of the operation.
            session: What the server knows the connection by, or None.
            send: Sends the operation and returns its result.
            may_block_s: For commands that wait by design, such as BLPOP.
            is_choice: False for what others cannot notice (connecting): it is followed, but not held.
        """
        actor = self.actor()
        table = self.table
        if actor is None or table is None:
            return await send()
        operation = Operation(actor, label, session, may_block_s, asyncio.get_running_loop().create_future())
        if is_choice:
            await self.wait_for_turn(table, operation)
        else:
            self.started(table, operation)
        try:
            return await send()
        except asyncio.CancelledError:
            self.turn_away(session)
            raise
        finally:
            self.ended(table, operation)

    def turn_away(self, session: Any) -> None:
        """Note that the client of a session no longer waits for what it does."""
        if session is not None:
            self.turned_away.add(session)

    def arrive(self, table: Table, operation: Operation) -> None:
        """Note that an operation stands at the gate."""
        if not table.may_move:
            table.surprises.append(f"{operation.actor} reached «{operation.label}» by itself")
        if operation.session is not None:
            table.sessions[operation.session] = operation.actor
        table.waiting[operation.actor] = operation
        table.changed.set()

    async def wait_for_turn(self, table: Table, operation: Operation) -> None:
        """Stand at the gate until the search lets the operation through."""
        self.arrive(table, operation)
        try:
            await operation.go
        except asyncio.CancelledError:
            table.waiting.pop(operation.actor, None)
            table.changed.set()
            raise
        self.started(table, operation)

    def started(self, table: Table, operation: Operation) -> None:
        """Note that an operation is on its way."""
        operation.sent_at_s = time.monotonic()
        table.running[operation.actor] = operation

    def ended(self, table: Table, operation: Operation) -> None:
        """Note that an operation has returned."""
        if table.running.get(operation.actor) is operation:
            del table.running[operation.actor]
        table.changed.set()
