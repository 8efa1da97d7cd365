"""A kernel that runs the interpreter of this process, whatever Jupyter is configured to do.

A `python3` kernelspec may point to another Python, and a user's IPython profile may run code at start.
Neither may change what a notebook prints here: the kernel is always `sys.executable`, with a profile of its
own that loads the hook of `deskbook.authoring.hook`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Longest time one cell may take, in seconds.
CELL_TIMEOUT_S = 60

#: Longest time a kernel may take to answer after its start, in seconds.
STARTUP_TIMEOUT_S = 60

#: Variables of the caller's shell that change what a cell prints.
FOREIGN_VARIABLES = (
    "PYTHONASYNCIODEBUG",
    "PYTHONDEVMODE",
    "PYTHONSTARTUP",
    "PYTHONTRACEMALLOC",
    "PYTHONWARNINGS",
    "FORCE_COLOR",
    "NO_COLOR",
    "COLUMNS",
    "MPLBACKEND",
)

PROFILE = """\
c = get_config()
c.InteractiveShellApp.extensions = ["deskbook.authoring.hook"]
c.InteractiveShellApp.reraise_ipython_extension_failures = True
c.HistoryManager.enabled = False
"""


@contextlib.contextmanager
def kernel_environment() -> Iterator[dict[str, str]]:
    """Yield the environment variables in which a checked kernel starts.

    They name an IPython profile in a temporary folder. A kernel reads it when it starts, so the folder is
    removed as soon as the kernel answers: whatever ends the run later leaves nothing behind.
    """
    with tempfile.TemporaryDirectory(prefix="deskbook-ipython-", ignore_cleanup_errors=True) as folder:
        profile = Path(folder, "profile_default")
        profile.mkdir()
        profile.joinpath("ipython_kernel_config.py").write_text(PROFILE, encoding="utf-8")
        variables = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
        yield variables | {"IPYTHONDIR": folder, "JUPYTER_PLATFORM_DIRS": "1"}


@contextlib.contextmanager
def applied_to_process(variables: dict[str, str]) -> Iterator[None]:
    """Make `os.environ` equal to the variables for a moment, for a library that starts its kernel itself."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(variables)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def kernel_manager() -> Any:
    """Return a kernel manager whose every kernel is the running interpreter."""
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpreter(KernelSpecManager):
        """Answers every name with a kernel of `sys.executable`."""

        def get_kernel_spec(self, kernel_name: str) -> Any:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisInterpreter())
