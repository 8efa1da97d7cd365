"""`python -m deskbook`: the command line, for places where the script `deskbook` is not on PATH."""

from deskbook.cli import main

main(prog_name="deskbook")
