"""`%%module name`: a cell that is a Python module of its own.

A server runs in another process, and what a cell defines exists in the kernel alone. A cell that starts with
`%%module quotes_desk` is saved as `quotes_desk.py` in a folder of this kernel instead, as an editor would:
`serving_app("quotes_desk:app")` serves it, and `import quotes_desk` works in the next cell.
"""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

from deskbook.processes.leftovers import make_own_folder

#: Start of the name of a folder with modules; the number of its kernel follows.
PREFIX = "deskbook-modules-"


@cache
def module_folder() -> Path:
    """Return the folder of this process's modules; it is made on first use and removed at the end."""
    folder = make_own_folder(PREFIX)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    sys.path.append(str(folder))
    return folder


def write_module(name: str, source: str) -> Path:
    """Save a module and forget an older version of it.

    Raises:
        ValueError: The name cannot be imported, or belongs to an installed module.
        SyntaxError: Python cannot parse the source.
    """
    path = module_folder() / f"{name}.py"
    if not name.isidentifier():
        raise ValueError(f"%%module needs a name that can be imported, such as quotes_desk; got {name!r}.")
    if not path.exists() and (name in sys.modules or importlib.util.find_spec(name) is not None):
        raise ValueError(f"A module named {name!r} is installed already; take another name.")
    compile(source, str(path), "exec")
    path.write_text(source, encoding="utf-8")
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return path


def load_ipython_extension(shell: Any) -> None:
    """Register the magic; `%load_ext deskbook` calls this."""

    def module(line: str, cell: str) -> None:
        """Save this cell as a module that a server can import."""
        write_module(line.strip(), cell)

    shell.register_magic_function(module, magic_kind="cell", magic_name="module")
