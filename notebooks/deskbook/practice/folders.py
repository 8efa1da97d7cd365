"""Where exercises lie, and where the learner's own files go."""

from __future__ import annotations

import os
from pathlib import Path

from deskbook.checkout import root

#: Environment variable that names another folder than `my-work/`, for rooms with a shared checkout.
WORK_VARIABLE = "DESKBOOK_WORK"


def exercises_folder() -> Path:
    """Return the folder that holds one folder an exercise."""
    return root() / "exercises"


def work_folder() -> Path:
    """Return the learner's folder: `my-work/` of the checkout, or the one that DESKBOOK_WORK names."""
    named = os.environ.get(WORK_VARIABLE)
    return Path(named) if named else root() / "my-work"
