"""The pattern catalogue: list, show and copy the files of `reference_app/patterns/`.

The files are read as text and never imported, so that `deskbook pattern copy` works in a bare install.
"""

from deskbook.patterns.catalogue import Pattern, PatternError, catalogue, find, get
from deskbook.patterns.copying import Copied, copy_pattern

__all__ = ["Copied", "Pattern", "PatternError", "catalogue", "copy_pattern", "find", "get"]
