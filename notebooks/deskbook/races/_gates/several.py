"""Several gates in one search: the statements and commands of all of them are steps of the same schedules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from deskbook.races._gates.base import Gate, Table


def one_gate(gates: Gate | Sequence[Gate]) -> Gate:
    """Return one gate for what `explore` was given: a gate, or a sequence of them.

    Raises:
        ValueError: If the sequence is empty, or two of them would stop the same client library.
    """
    if isinstance(gates, Gate):
        return gates
    if not gates:
        raise ValueError("gate=[] names no gate: leave it out to explore in process")
    return gates[0] if len(gates) == 1 else SeveralGates(gates)


class SeveralGates(Gate):
    """Stops what any of its gates stops.

    Args:
        gates: One for each client library.
    """

    def __init__(self, gates: Sequence[Gate]) -> None:
        seams = [gate.seam for gate in gates]
        twice = sorted({seam for seam in seams if seams.count(seam) > 1})
        if twice:
            raise ValueError(f"two gates stop {', '.join(twice)}; one for each client library is enough")
        self._gates = tuple(gates)
        super().__init__()
        self.level = ", ".join(dict.fromkeys(gate.level for gate in gates))
        self.seam = " and ".join(seams)
        self.packages = frozenset().union(*(gate.packages for gate in gates))

    @property
    def table(self) -> Table | None:
        """The state of the run that is under way, the same for all gates."""
        return self._gates[0].table

    @table.setter
    def table(self, table: Table | None) -> None:
        for gate in self._gates:
            gate.table = table

    @property
    def turned_away(self) -> set[Any]:
        """Sessions of any gate that their client has turned away from."""
        return set().union(*(gate.turned_away for gate in self._gates))

    @turned_away.setter
    def turned_away(self, sessions: set[Any]) -> None:
        for gate in self._gates:
            gate.turned_away = set(sessions)

    @property
    def notes(self) -> set[str]:
        """What any of the gates could not follow."""
        return set().union(*(gate.notes for gate in self._gates))

    @notes.setter
    def notes(self, notes: set[str]) -> None:
        for gate in self._gates:
            gate.notes = set(notes)

    def install(self) -> None:
        """Hook all client libraries."""
        for gate in self._gates:
            gate.install()

    def remove(self) -> None:
        """Undo `install`."""
        for gate in reversed(self._gates):
            gate.remove()

    async def open(self) -> None:
        """Connect what the gates need."""
        for gate in self._gates:
            await gate.open()

    async def close(self) -> None:
        """Close what `open` connected."""
        for gate in self._gates:
            await gate.close()

    async def blockers(self, sessions: Iterable[Any]) -> dict[Any, tuple[Any, ...]]:
        """Ask every server that has sessions."""
        found: dict[Any, tuple[Any, ...]] = {}
        for gate in self._gates:
            found |= await gate.blockers(list(sessions))
        return found

    async def wait_until_freed(self) -> bool:
        """Wait until every server has finished with the sessions that were turned away from."""
        return any([await gate.wait_until_freed() for gate in self._gates])
