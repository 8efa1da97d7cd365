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
    return subprocess.call(strict_command(arguments), env=strict_environment(), stdout=output, stderr=output)


def strict_command(arguments: list[str]) -> list[str]:
    """Return the command that verifies notebooks; it needs the `strict_environment`."""
    plugins = ["-p", "deskbook.authoring.pytest_plugin", "-p", "nbval.plugin", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", "-c", os.devnull, *plugins, "--notebooks", *arguments]


def strict_environment() -> dict[str, str]:
    """Return the environment variables without the caller's own plugins and options of pytest."""
    variables = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    variables.pop("PYTEST_ADDOPTS", None)
    return variables
