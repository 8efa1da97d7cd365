"""The table of processes is true: each can be run, and none is left out."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

import reference_app
import reference_app.__main__ as command
from reference_app.processes import PROCESSES


def test_every_process_stands_in_the_table() -> None:
    root = Path(reference_app.__file__).parent
    found = {
        ".".join(path.relative_to(root.parent).with_suffix("").parts)
        for path in root.rglob("*.py")
        if re.search(r"^    run_process\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found == set(PROCESSES.values())
    assert all(callable(import_module(module).main) for module in found)


def test_the_help_of_the_service_names_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reference_app", "--help"])
    with pytest.raises(SystemExit, match="0"):
        command.main()
    said = capsys.readouterr().out
    assert all(f"{name} " in said and f"python -m {module}" in said for name, module in PROCESSES.items())
