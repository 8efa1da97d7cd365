"""The few places where an output may differ from run to run without being wrong.

The file `nbval_sanitize.cfg` is used three times with the same meaning: nbval replaces the matches before
it compares, `deskbook notebook run` stores outputs with the replacement already made, and the
output-mutation run shows when a pattern is so wide that it hides a changed output.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

SANITIZE_FILE = Path(__file__).with_name("nbval_sanitize.cfg")


@functools.cache
def sanitize_patterns(path: Path = SANITIZE_FILE) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Read the pairs of pattern and replacement, in the order in which nbval applies them.

    Raises:
        ValueError: If the number of `regex:` lines differs from the number of pairs that nbval would find.
    """
    text = path.read_text(encoding="utf-8")
    pairs = re.findall(r"^regex: (.*)$\n^replace: (.*)$", text, flags=re.MULTILINE)
    stated = len(re.findall(r"^regex:", text, flags=re.MULTILINE))
    if stated != len(pairs):
        raise ValueError(
            f"{path.name} has {stated} lines that start with 'regex:' but nbval finds {len(pairs)} pairs. "
            "Each needs 'regex: PATTERN' and on the next line 'replace: TEXT'."
        )
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


def sanitize(text: str) -> str:
    """Replace what may differ from run to run."""
    for pattern, replacement in sanitize_patterns():
        text = pattern.sub(replacement, text)
    return text
