"""What nbval reads in a cell: comment markers and tags.

The tables repeat those of `nbval.plugin`, because importing nbval costs more time than linting forty
notebooks; a test holds them equal to the installed nbval.
"""

from __future__ import annotations

import re
from typing import Any

#: Comment line -> what it switches. A marker counts only when it is alone on its line.
COMMENT_MARKERS: dict[str, tuple[str, bool]] = {
    "PYTEST_VALIDATE_IGNORE_OUTPUT": ("check", False),
    "NBVAL_IGNORE_OUTPUT": ("check", False),
    "NBVAL_CHECK_OUTPUT": ("check", True),
    "NBVAL_RAISES_EXCEPTION": ("check_exception", True),
    "NBVAL_SKIP": ("skip", True),
}

TAGS: dict[str, tuple[str, bool]] = {
    **{name.lower().replace("_", "-"): option for name, option in COMMENT_MARKERS.items()},
    "raises-exception": ("check_exception", True),
}

#: The line that says why an output is not compared; it may stand anywhere in the cell.
REASON_LINE = re.compile(r"^[ \t]*#[ \t]*reason:[ \t]*(?P<reason>\S.*)$", re.MULTILINE)


def nbval_options(cell: dict[str, Any], source: str) -> dict[str, bool]:
    """Return what nbval would switch on or off for a code cell under strict `--nbval`."""
    options = {"check": True, "check_exception": False, "skip": False}
    for tag in cell.get("metadata", {}).get("tags", []):
        if tag in TAGS:
            options[TAGS[tag][0]] = TAGS[tag][1]
    for line in source.splitlines():
        marker = line.strip().lstrip("#").strip()
        if line.strip().startswith("#") and marker in COMMENT_MARKERS:
            options[COMMENT_MARKERS[marker][0]] = COMMENT_MARKERS[marker][1]
    return options


def ignore_reason(source: str) -> str | None:
    """Return the reason beside an ignore marker, or None."""
    match = REASON_LINE.search(source)
    return match["reason"].strip() if match else None
