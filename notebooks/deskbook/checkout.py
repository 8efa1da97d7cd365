"""Where the checkout is, and where the learner's own files go."""

from __future__ import annotations

import os
from pathlib import Path

#: This file is CHECKOUT/notebooks/deskbook/checkout.py in an editable install.
_CANDIDATE = Path(__file__).resolve().parents[2]

#: Environment variable that names another folder than `my-work/`, for rooms with a shared checkout.
WORK_VARIABLE = "DESKBOOK_WORK"


class NotACheckoutError(Exception):
    """The package is installed, but not from a checkout, so there are no lessons to open."""

    def __init__(self) -> None:
        super().__init__(
            "The lessons are not here: fastapi-deskbook was installed as a package. "
            "Clone the repository and run `make lab` in it."
        )


def root() -> Path:
    """Return the top folder of the checkout, which holds notebooks/, reference_app/, exercises/ and tests/.

    Raises:
        NotACheckoutError: The package was installed without its repository.
    """
    if not (_CANDIDATE / "requirements.lock").is_file():
        raise NotACheckoutError
    return _CANDIDATE


def exercises_folder() -> Path:
    """Return the folder that holds one folder an exercise."""
    return root() / "exercises"


def work_folder() -> Path:
    """Return the learner's folder: `my-work/` of the checkout, or the one that DESKBOOK_WORK names."""
    named = os.environ.get(WORK_VARIABLE)
    return Path(named).absolute() if named else root() / "my-work"
