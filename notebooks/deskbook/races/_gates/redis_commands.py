"""A gate for Redis and Valkey through redis-py's asyncio client.

One command, or one pipeline (which travels as one packet), is one step. Redis runs one command at a time, so
a command never blocks another one, except those that wait by design (BLPOP and its kin).
"""

from __future__ import annotations

import asyncio
from typing import Any

from deskbook.races._gates.base import Gate, Operation

#: Commands that wait for another client; after `BLOCKED_AFTER_S` without an answer they count as blocked.
_WAITING = frozenset(
    {"BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP", "WAIT"}
)
BLOCKED_AFTER_S = 0.05


class RedisGate(Gate):
    """Makes every Redis command a step."""

    level = "every command"
    seam = "redis-py"

    def install(self) -> None:
        """Hook redis-py."""
        from redis.asyncio.connection import AbstractConnection

        gate = self
        self._class = AbstractConnection
        # redis-py 5 and 6 connect in one function, later ones in two.
        connecting = (
            "connect_check_health" if hasattr(AbstractConnection, "connect_check_health") else "connect"
        )
        self._originals = {
            name: getattr(AbstractConnection, name)
            for name in ("send_packed_command", "send_command", "read_response", connecting)
        }
        send_packed, send = self._originals["send_packed_command"], self._originals["send_command"]
        read, connect = self._originals["read_response"], self._originals[connecting]

        async def send_command(self: Any, *args: Any, **options: Any) -> Any:
            self._deskbook_label = " ".join(_shown(arg) for arg in args)
            return await send(self, *args, **options)

        async def send_packed_command(self: Any, command: Any, *args: Any, **options: Any) -> Any:
            await gate._hold(self, command)
            return await send_packed(self, command, *args, **options)

        async def read_response(self: Any, *args: Any, **options: Any) -> Any:
            try:
                return await read(self, *args, **options)
            except asyncio.CancelledError:
                gate._turned_away(self)
                raise
            finally:
                gate._answered(self)

        async def follow_connecting(self: Any, *args: Any, **options: Any) -> Any:
            self._deskbook_connecting = True
            try:
                return await gate.pass_through(
                    "connect", None, lambda: connect(self, *args, **options), is_choice=False
                )
            finally:
                self._deskbook_connecting = False

        for hook in (send_command, send_packed_command, read_response):
            setattr(AbstractConnection, hook.__name__, hook)
        setattr(AbstractConnection, connecting, follow_connecting)

    def remove(self) -> None:
        """Give redis-py back as it was."""
        for name, original in self._originals.items():
            setattr(self._class, name, original)

    async def _hold(self, connection: Any, command: Any) -> None:
        label = getattr(connection, "_deskbook_label", None) or _unpacked(command)
        connection._deskbook_label = None
        actor, table = self.actor(), self.table
        if actor is None or table is None or getattr(connection, "_deskbook_connecting", False):
            return
        waits = label.split(" ")[0].upper() in _WAITING or " BLOCK " in label
        future = asyncio.get_running_loop().create_future()
        operation = Operation(actor, label, None, BLOCKED_AFTER_S if waits else None, future)
        await self.wait_for_turn(table, operation)
        connection._deskbook_operation = operation

    def _turned_away(self, connection: Any) -> None:
        """Note a command that waited in the server when its request was cancelled.

        redis-py closes the connection, but until the server has seen that, the command can still take an
        element that the next step pushes.
        """
        operation = getattr(connection, "_deskbook_operation", None)
        if operation is not None and self.table is not None and self.table.running:
            command = operation.label.split(" ")[0]
            self.notes.add(
                f"NOT UNDER CONTROL: {command} waited in the server when {operation.actor} was cancelled; "
                f"when the server lets go of it is not known"
            )

    def _answered(self, connection: Any) -> None:
        operation = getattr(connection, "_deskbook_operation", None)
        if operation is not None and self.table is not None:
            self.ended(self.table, operation)


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _unpacked(command: Any) -> str:
    """Return the words of a packed command or pipeline: RESP without its lengths."""
    parts = command if isinstance(command, (list, tuple)) else [command]
    data = b"".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)
    words = [
        word.decode("utf-8", "replace") for word in data.split(b"\r\n") if word and word[:1] not in b"$*"
    ]
    return _shown(" ".join(words))
