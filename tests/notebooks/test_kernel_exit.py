"""A kernel that ends does not wait for output that nobody sends any more."""

from __future__ import annotations

import subprocess
import sys

KERNEL_THAT_ENDS = """
import atexit, sys
from types import SimpleNamespace
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
stream = SimpleNamespace(flush_timeout=10, write=lambda text: None, flush=lambda: None)
# As ipykernel registers close():
atexit.register(lambda: print(stream.flush_timeout, file=sys.__stdout__))
shell.extension_manager.load_extension("deskbook")
sys.stdout = stream
print(stream.flush_timeout, file=sys.__stdout__)
"""


def test_the_extension_shortens_the_limit_at_the_end_only_and_before_the_sockets_close() -> None:
    command = [sys.executable, "-c", KERNEL_THAT_ENDS]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.stdout.split() == ["10", "0.1"], ended.stderr
