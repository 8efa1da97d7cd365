"""A suite with a test that never ends comes to its end, and says where that test stood."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.prove  # six seconds of processor time: two workers are started
def test_a_test_that_never_ends_fails_and_the_others_go_on(tmp_path):
    (tmp_path / "test_hang.py").write_text(
        "import threading\n\n\ndef test_waits_for_ever():\n    threading.Event().wait()\n\n\n"
        "def test_after_it():\n    pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-c", CHECKOUT / "pyproject.toml", "--rootdir", tmp_path]
    command += [
        "-o",
        "faulthandler_timeout=2",
        "-n",
        "1",
        "-p",
        "no:cacheprovider",
        tmp_path / "test_hang.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "crashed while running" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "in test_waits_for_ever" in done.stderr
