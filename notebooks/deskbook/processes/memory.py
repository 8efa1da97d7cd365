"""Keep a forked process from copying the pages that it shares with its parent."""

from __future__ import annotations

import gc

from deskbook.processes.linux import give_back_freed_memory


def settle() -> None:
    """Keep what was made until here out of every collection; call it before a fork.

    A collection in a child would write to every object, and so copy the pages it shares with its parent.
    """
    gc.collect()
    give_back_freed_memory()  # what imports have freed: two megabytes for every learner of a room
    gc.freeze()
