"""Write `environment.yml` from the lock, for conda, mamba and Binder users.

The pins stand inline: mamba resolves `-r requirements.lock` relative to a temporary folder (mamba issue
1894), and conda's pip section knows no hashes. `-e .` is resolved relative to the folder of the file.
"""

from __future__ import annotations

from pathlib import Path

from deskbook.environment.lockfile import read_pins

_HEADER = """\
# Written from requirements.lock by `python -m deskbook.environment conda`; a test compares the two.
name: fastapi-deskbook
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python >=3.11,<3.15
  - pip
  - pip:
"""


def environment_yml(lock: Path) -> str:
    """Return the text of environment.yml for a lock file."""
    pins = "".join(f"      - {pin.requirement}\n" for pin in read_pins(lock))
    return f"{_HEADER}{pins}      - -e .\n"
