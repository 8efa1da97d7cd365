"""What runs, and ending it: for the command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from deskbook.services import binaries
from deskbook.services.errors import ServicesError
from deskbook.services.model import Service

_STOP_TIMEOUT_S = 20.0
_STATUS_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    """One running supervisor.

    Attributes:
        pid: Its process number.
        clients: Process numbers that hold a lease.
        services: The servers it runs.
    """

    pid: int
    clients: tuple[int, ...]
    services: tuple[Service, ...]


def status() -> tuple[Status, ...]:
    """Return the supervisors of this user and environment: two where DESKBOOK_SERVICES changed.

    Raises:
        ServicesError: One does not answer.
    """
    found = []
    for answer in _ask_all({"op": "status"}, _STATUS_TIMEOUT_S):
        services = tuple(Service(**fields) for fields in answer["services"].values())
        found.append(Status(answer["pid"], tuple(answer["clients"]), services))
    return tuple(found)


def stop() -> tuple[Status, ...]:
    """End the servers of this user and environment now, also while processes use them.

    Returns:
        What was running, with the processes whose servers were taken away.

    Raises:
        ServicesError: A supervisor does not answer.
    """
    running = status()
    for _ in _ask_all({"op": "stop"}, _STOP_TIMEOUT_S):
        pass
    return running


def _ask_all(request: dict[str, str], timeout_s: float) -> list[dict[str, Any]]:
    if sys.platform == "win32":
        return []
    from deskbook.services import lease
    from deskbook.services.state import StateFolder

    answers = []
    for mode in binaries.MODES:
        state = StateFolder.shared(mode)
        connection = lease.connect(state)
        if connection is None:
            continue
        with connection:
            connection.settimeout(timeout_s)
            try:
                answers.append(lease.ask(connection, request))
            except ConnectionError:  # it ended by itself
                continue
            except ServicesError as error:
                raise ServicesError(error.problem, f"End it with `kill -9 {state.owner()}`.") from None
    return answers
