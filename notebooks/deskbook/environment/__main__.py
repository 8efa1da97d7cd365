"""`python -m deskbook.environment [conda]`, run with `notebooks/` on the path.

Without an argument: make the environment if needed and print the path of its Python.
With `conda`: print environment.yml.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deskbook.environment.conda import environment_yml
from deskbook.environment.make import CannotMakeEnvironment, interpreter

CHECKOUT = Path(__file__).resolve().parents[3]


def main(arguments: list[str]) -> int:
    """Do what the module's docstring says; return the exit code."""
    if arguments == ["conda"]:
        sys.stdout.write(environment_yml(CHECKOUT / "requirements.lock"))
        return 0
    try:
        sys.stdout.write(f"{interpreter(CHECKOUT)}\n")
    except CannotMakeEnvironment as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Run make again: it starts the environment afresh.\n")
        return 130
    return 0


sys.exit(main(sys.argv[1:]))
