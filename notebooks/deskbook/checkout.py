"""Where the checkout is: the folder that holds notebooks/, reference_app/, exercises/ and tests/."""

from __future__ import annotations

from pathlib import Path

#: This file is CHECKOUT/notebooks/deskbook/checkout.py in an editable install.
_CANDIDATE = Path(__file__).resolve().parents[2]


class NotACheckoutError(Exception):
    """The package is installed, but not from a checkout, so there are no lessons to open."""

    def __init__(self) -> None:
        super().__init__(
            "The lessons are not here: fastapi-deskbook was installed as a package. "
            "Clone the repository and run `make lab` in it."
        )


def root() -> Path:
    """Return the top folder of the checkout.

    Raises:
        NotACheckoutError: The package was installed without its repository.
    """
    if not (_CANDIDATE / "requirements.lock").is_file():
        raise NotACheckoutError
    return _CANDIDATE
