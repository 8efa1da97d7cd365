"""The toolkit of the FastAPI Deskbook: what notebooks, exercises and the command line import.

A lesson starts with `%load_ext deskbook`, which turns on its checks in the kernel and adds `%%module`
and `%%exercise`.
"""

from __future__ import annotations

from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """Turn on what a lesson needs in the running kernel; called by `%load_ext deskbook`."""
    from deskbook import module_cells
    from deskbook.authoring import hook
    from deskbook.practice.learner import magics

    hook.load_ipython_extension(shell)
    module_cells.load_ipython_extension(shell)
    magics.load_ipython_extension(shell)
