"""All cases about small desks; each truth was committed before any of them was explored."""

from importlib import import_module
from pathlib import Path

_FILES = sorted(path.stem for path in Path(__file__).parent.glob("desk_*.py"))
DESKS = [case for name in _FILES for case in import_module(f"race_cases.corpus.{name}").CASES]
