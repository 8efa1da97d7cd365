"""Execute a notebook from a fresh kernel and store what it printed."""

from __future__ import annotations

import contextlib
import copy
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deskbook.authoring.kernel import CELL_TIMEOUT_S, STARTUP_TIMEOUT_S, kernel_environment, kernel_manager
from deskbook.authoring.markers import nbval_options
from deskbook.authoring.normalise import normalise, normalise_output
from deskbook.authoring.notebook_file import NotebookFileError, read_notebook, write_notebook
from deskbook.authoring.quick_start import skip_slow_import


class CellFailedError(Exception):
    """A cell failed, or did not fail as it says, or the file was saved meanwhile; it was not written."""


class KernelStartError(RuntimeError):
    """The Python kernel could not be started."""


@dataclass(frozen=True)
class NotebookRun:
    """What a run of one notebook did.

    Attributes:
        cells: Number of executed code cells.
        changed: Whether the file has new contents.
    """

    cells: int
    changed: bool


def run_notebook(
    path: Path, timeout_s: float = CELL_TIMEOUT_S, on_cell: Callable[[int, int], None] | None = None
) -> NotebookRun:
    """Execute a notebook and store its outputs, with counts 1 to n, in the committed form.

    Args:
        path: The notebook; its kernel works in the folder of the notebook, as under nbval.
        timeout_s: Longest time for one cell, in seconds.
        on_cell: Called before each code cell with its number, from 1, and the number of code cells.

    Raises:
        CellFailedError: If a cell fails, or somebody else saved the file meanwhile; it is not written.
        KernelStartError: If the kernel does not start.
        NotebookFileError: If the file is no notebook.
    """
    content = read_notebook(path)
    before = path.read_bytes()
    notebook = executed(content, path.resolve().parent, timeout_s, on_cell)
    if path.read_bytes() != before:
        raise CellFailedError("The notebook was saved by somebody else while its cells ran. Run it again.")
    write_notebook(path, notebook)
    return NotebookRun(cells=len(_code_cells(notebook)), changed=path.read_bytes() != before)


def executed(
    notebook: dict[str, Any],
    folder: Path,
    timeout_s: float = CELL_TIMEOUT_S,
    on_cell: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Return a copy of the notebook with fresh outputs, in the committed form."""
    skip_slow_import()
    import nbformat

    node: Any = nbformat.from_dict(copy.deepcopy(notebook))  # type: ignore[no-untyped-call]
    try:
        nbformat.validate(node)
    except nbformat.ValidationError as error:
        raise NotebookFileError(f"The notebook breaks the format: {str(error).splitlines()[0]}") from None
    _execute(node, folder, timeout_s, on_cell)
    normalise(node)
    return dict(node)


def _execute(node: Any, folder: Path, timeout_s: float, on_cell: Callable[[int, int], None] | None) -> None:
    """Run every code cell in one new kernel."""
    from nbclient import NotebookClient

    cells = _code_cells(node)
    client = NotebookClient(
        node,
        km=kernel_manager(),
        timeout=timeout_s,
        startup_timeout=STARTUP_TIMEOUT_S,
        interrupt_on_timeout=False,
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    with _kernel_of(client):
        for number, (index, cell) in enumerate(cells, start=1):
            if on_cell is not None:
                on_cell(number, len(cells))
            _execute_cell(client, cell, index, timeout_s)


@contextlib.contextmanager
def _kernel_of(client: Any) -> Iterator[None]:
    """Start the kernel of the client and end it, also when a cell hangs."""
    with ended_by_signals(client), tempfile.TemporaryFile("w+") as log:
        try:
            with kernel_environment() as variables:
                client.start_new_kernel(env=variables, stdout=log, stderr=log)
                client.start_new_kernel_client()
        except RuntimeError as error:
            log.seek(0)
            last = (log.read().strip().splitlines() or ["it said nothing"])[-1]
            raise KernelStartError(f"The kernel did not start: {error}. Its last words: {last}") from None
        try:
            yield
        finally:
            client._cleanup_kernel()


@contextlib.contextmanager
def ended_by_signals(client: Any) -> Iterator[None]:
    """End the kernel and its connection file when SIGTERM or SIGHUP (a closed terminal) ends this process."""

    def leave(number: int, _: object) -> None:
        # The kernel is killed at once: while this process exits, its event loop may no longer reach it.
        if client.km is not None:
            client.km.cleanup_connection_file()
            process = getattr(client.km.provisioner, "process", None)
            if process is not None:
                process.kill()
        raise SystemExit(128 + number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
    # Only the main thread may set handlers.
    if threading.current_thread() is not threading.main_thread():
        names = []
    before = {name: signal.signal(getattr(signal, name), leave) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _execute_cell(client: Any, cell: Any, index: int, timeout_s: float) -> None:
    """Run one cell; a failure must be announced by a tag or marker, and an announced failure must come."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    expects_error = nbval_options(cell, cell.source)["check_exception"]
    tags = cell.metadata.get("tags")
    if expects_error:  # nbclient knows only the tag, not the marker
        cell.metadata["tags"] = [*(tags or []), "raises-exception"]
    try:
        client.execute_cell(cell, index)
    except CellExecutionError as error:
        raise CellFailedError(_shown(cell, index, f"{error.ename}: {error.evalue}", _printed(cell))) from None
    except CellTimeoutError:
        raise CellFailedError(_shown(cell, index, f"It took longer than {timeout_s:g} s.")) from None
    except DeadKernelError:
        raise CellFailedError(
            _shown(cell, index, "The kernel died: out of memory, or a crash in C code.")
        ) from None
    finally:
        if expects_error:
            cell.metadata["tags"] = tags or []
    raised = any(output["output_type"] == "error" for output in cell.outputs)
    if expects_error and not raised:
        raise CellFailedError(_shown(cell, index, "It says that it raises an exception, but it raised none."))


def _shown(cell: Any, index: int, what: str, detail: str = "") -> str:
    """Show the failing cell and what happened."""
    source = "\n".join(f"    {line}" for line in cell.source.splitlines())
    reason = detail if what in detail else f"{what}\n\n{detail}"
    return f"Cell {index + 1} failed:\n\n{source}\n\n{reason.rstrip()}"


def _printed(cell: Any) -> str:
    """Return what the cell printed before and when it failed."""
    parts = []
    for output in map(normalise_output, cell.outputs):
        if output["output_type"] == "stream":
            parts.append(output["text"].rstrip())
        elif output["output_type"] == "error":
            parts.append("\n".join(output["traceback"]))
    return "\n\n".join(parts)


def _code_cells(notebook: Any) -> list[tuple[int, Any]]:
    return [(index, cell) for index, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
