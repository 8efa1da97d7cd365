"""A kernel that ends does not wait for output that nobody sends any more."""

from __future__ import annotations

import subprocess
import sys

KERNEL_THAT_ENDS = """
import atexit, sys
from types import SimpleNamespace
from deskbook.authoring.kernel_exit import end_without_waiting

sys.stdout = SimpleNamespace(flush_timeout=10)
sys.stderr = None
# As ipykernel registers close():
atexit.register(lambda: print(sys.stdout.flush_timeout, file=sys.__stdout__))
end_without_waiting()
end_without_waiting()
print(sys.stdout.flush_timeout, file=sys.__stdout__)
"""


def test_the_limit_is_short_at_the_end_only_and_before_the_sockets_close() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KERNEL_THAT_ENDS], capture_output=True, text=True, timeout=20
    )
    assert (ended.stdout.split(), ended.stderr) == (["10", "0.1"], "")
