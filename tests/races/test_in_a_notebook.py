"""Top-level await in a real kernel, where a loop is running already."""

import nbformat
import pytest
from nbclient import NotebookClient

CELL = """
import asyncio
from types import SimpleNamespace
from deskbook.races import explore

async def bump(subject):
    n = subject.n
    await asyncio.sleep(0)
    subject.n = n + 1

report = await explore(lambda: SimpleNamespace(n=0), {"A": bump, "B": bump}, invariant=lambda s, r: s.n == 2)
report
"""


@pytest.mark.prove
def test_a_report_is_shown_and_the_same_every_time():
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(CELL), nbformat.v4.new_code_cell(CELL)]
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    first, second = (cell.outputs[-1]["data"] for cell in notebook.cells)
    assert first["text/plain"].startswith("counterexample with 1 preemption")
    assert '<img src="data:image/svg+xml;base64,' in first["text/html"]
    assert dict(first) == dict(second)
