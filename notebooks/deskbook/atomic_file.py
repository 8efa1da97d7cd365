"""Replace a file in one step: whoever reads it sees the old one or the new one, and never half of one."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Write a file through a temporary name beside it; without that, a killed run leaves half a file behind.

    The file keeps its permissions. Folders that are missing are made.

    Args:
        path: The file to make or to replace.
        content: Its bytes, or text that is written as UTF-8 with the line ends it has.
        mode: Permissions of a new file; one that is there keeps its own.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        mode = stat.S_IMODE(path.stat().st_mode)
    # A name of its own: two programs that write the same file at once would share a fixed one.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
