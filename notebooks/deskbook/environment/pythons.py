"""Which Pythons the lock can be installed on, and why not on others."""

from __future__ import annotations

import sysconfig

OLDEST, NEWEST = (3, 11), (3, 14)
#: Python version -> the package of the lock that has no build for it yet. The lock holds the hashes of
#: builds, so a build that appears later needs a new lock as well.
MISSING_BUILDS = {(3, 15): "pyinstrument"}
SUPPORTED = f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"


def refusal(version: tuple[int, int]) -> str | None:
    """Return why no environment can be made for this Python and what to do, or None.

    Args:
        version: Major and minor number, such as (3, 14).
    """
    newest = ".".join(map(str, NEWEST))
    remedy = f"Install Python {newest}, or name one of {SUPPORTED}: make lab PYTHON=/path/to/python{newest}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return f"This is a free-threaded Python, and the packages here need the usual build. {remedy}"
    if version > NEWEST:
        missing = MISSING_BUILDS.get(version, "the lock")
        return f"{missing} has no build for Python {'.'.join(map(str, version))} yet. {remedy}"
    return None
