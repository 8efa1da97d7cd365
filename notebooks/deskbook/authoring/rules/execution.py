"""A committed notebook is the record of one clean run, from the first cell to the last."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from deskbook.authoring.document import Document
from deskbook.authoring.rules.registry import Problem, rule

RUN = "Run `deskbook notebook run NOTEBOOK` and commit the result."

#: Metadata in which front ends keep the time of a run.
TIMING_KEYS = ("execution", "ExecuteTime", "execution_time", "papermill")


@rule(
    "unexecuted-cell",
    reason="nbval passes a code cell without an execution count and never compares its output.",
    fix=f"{RUN} Remove the cell if it is empty.",
)
def unexecuted_cell(document: Document) -> Iterator[Problem]:
    """Report code cells without an execution count."""
    for cell in document.code_cells:
        if cell.count is None:
            yield cell, "the code cell is empty" if not cell.source.strip() else "the cell was never executed"


@rule(
    "counts-in-order",
    reason="Counts other than 1 to n mean that cells ran twice, in another order, or in different kernels.",
    fix=RUN,
)
def counts_in_order(document: Document) -> Iterator[Problem]:
    """Report the first cell whose count is not its position among the code cells."""
    executed = [cell for cell in document.code_cells if cell.count is not None]
    for expected, cell in zip(itertools.count(1), executed, strict=False):
        if cell.count != expected:
            yield cell, f"the execution count is {cell.count}, a clean run gives {expected}"
            return


@rule(
    "result-count",
    reason="A result that carries another count than its cell was pasted from another run.",
    fix=RUN,
)
def result_count(document: Document) -> Iterator[Problem]:
    """Report results whose count differs from the count of the cell."""
    for cell in document.code_cells:
        for output in cell.outputs:
            count = output.get("execution_count")
            if output["output_type"] == "execute_result" and count != cell.count:
                yield cell, f"a result has the count {count}, its cell has {cell.count}"


@rule(
    "stale-timing",
    reason="Time stamps of a run change the file each time and tell the reader nothing.",
    fix=f"{RUN} Switch `recordTiming` off in JupyterLab.",
)
def stale_timing(document: Document) -> Iterator[Problem]:
    """Report metadata with the time of a run."""
    for cell in document.code_cells:
        if found := [key for key in TIMING_KEYS if key in cell.metadata]:
            yield cell, f"the metadata holds {', '.join(found)}"
    if "papermill" in document.metadata:
        yield None, "the metadata of the notebook holds papermill"


@rule(
    "machine-metadata",
    reason="The version of the Python that ran the notebook changes the file on every machine.",
    fix=RUN,
)
def machine_metadata(document: Document) -> Iterator[Problem]:
    """Report a kernelspec of somebody's machine, or a recorded Python version."""
    kernel = document.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield None, f"the kernel is named {kernel!r}, expected 'python3'"
    if version := document.metadata.get("language_info", {}).get("version"):
        yield None, f"the metadata records Python {version}"


@rule(
    "duplicate-cell-id",
    reason="Tools find a cell by its id; two cells with one id lose edits when text is synced back.",
    fix="Remove one of the ids in the file; `deskbook notebook run` then writes a new one.",
)
def duplicate_cell_id(document: Document) -> Iterator[Problem]:
    """Report cells that share an id with an earlier one, or have none."""
    seen: set[str] = set()
    for cell in document.cells:
        if cell.id is None:
            yield cell, "the cell has no id"
        elif cell.id in seen:
            yield cell, f"the id {cell.id!r} is used twice"
        seen.add(cell.id or "")
