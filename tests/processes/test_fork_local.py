"""A forked child has its own value of a global, and what it has inherited stays open."""

from __future__ import annotations

import os

from deskbook.processes.fork_local import ForkLocal


class Connection:
    """Counts how often it was closed."""

    closed = 0

    def __del__(self) -> None:
        Connection.closed += 1


def test_a_forked_child_gets_a_value_of_its_own_and_keeps_the_inherited_one() -> None:
    local = ForkLocal(Connection)
    ours = local.get()
    assert local.get() is ours
    pid = os.fork()
    if pid == 0:
        own = local.get()
        is_right = (
            own is not ours and local.get() is own and local.inherited == [ours] and not Connection.closed
        )
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert local.get() is ours
    assert local.inherited == []
