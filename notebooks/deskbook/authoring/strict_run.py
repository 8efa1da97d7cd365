"""Run pytest over notebooks with nothing but nbval and the course's own plugin."""

from __future__ import annotations

import os
import subprocess
import sys


def strict_pytest(arguments: list[str], output: int | None = None) -> int:
    """Verify notebooks in a pytest of their own, whatever configuration the caller's folder holds.

    Args:
        arguments: Notebooks and further options of pytest.
        output: Where the report goes, as for `subprocess`; None is the terminal.

    Returns:
        The exit code of pytest.
    """
    plugins = ["-p", "deskbook.authoring.pytest_plugin", "-p", "nbval.plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, *plugins, "--notebooks", *arguments]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.call(command, env=environment, stdout=output, stderr=output)
