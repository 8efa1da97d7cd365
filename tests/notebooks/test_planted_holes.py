"""One planted notebook for each hole of plain nbval in an async course; each is red for its own reason.

The table of holes: field notes on course repositories, section 2. Those that only a look at the file can find
(a cell that never ran, a mangled marker, RAISES with IGNORE...) are in test_planted_rules.py.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest
from deskbook.authoring.notebook_file import read_notebook
from deskbook.authoring.strict_run import strict_pytest

CLEAN_LESSON = Path(__file__).with_name("planted") / "11_clean_lesson.ipynb"


@dataclass(frozen=True)
class PlantedCell:
    """A cell that plain nbval passes, and what the reader is told here; None: the cell does it right."""

    name: str
    source: str
    says: str | None
    error: str = ""


FAIL = """
async def fail():
    raise ValueError("no price")
"""

# The cells share one kernel: what one leaves behind does not change what the next leaves behind.
BACKGROUND = [
    PlantedCell(
        "assert in a background task",
        """
import asyncio
import gc
import httpx
import threading

async def check():
    assert 1 == 2

task = asyncio.create_task(check())
await asyncio.sleep(0)
""",
        "LostFailureError: A failure was lost: check() created at line 9 of this cell raised AssertionError",
    ),
    PlantedCell(
        "clean twin: the task is awaited",
        FAIL
        + """
try:
    await asyncio.create_task(fail())
except ValueError:
    pass
""",
        None,
    ),
    PlantedCell(
        "task that nobody holds fails",
        """
asyncio.create_task(fail())
await asyncio.sleep(0)
""",
        "A failure was lost: fail() created at line 1 of this cell raised ValueError: no price. ",
    ),
    PlantedCell(
        "task prints after its cell",
        """
async def late():
    await asyncio.sleep(60)
    print("too late")

task = asyncio.create_task(late())
""",
        "1 task was still running when this cell ended: late() created at line 5 of this cell. ",
    ),
    PlantedCell(
        "clean twin: cancelled and awaited",
        """
task.cancel()
_ = await asyncio.wait([task])
""",
        None,
    ),
    PlantedCell(
        "tasks of a helper are left pending",
        """
def start(number):
    return asyncio.create_task(asyncio.sleep(60, number))

tasks = [start(1)]
tasks.append(start(2))
""",
        "PendingTaskError: 2 tasks were still running when this cell ended: "
        "sleep() created in start(), line 2 of its cell; sleep() created in start(), line 2 of its cell",
    ),
    PlantedCell(
        "pending task behind an expected error",
        """
tasks.append(start(3))
1 / 0
""",
        "ZeroDivisionError\nPendingTaskError",
        error="ZeroDivisionError",
    ),
    PlantedCell(
        "clean twin: all are cancelled",
        """
for each in tasks:
    each.cancel()
_ = await asyncio.wait(tasks)
""",
        None,
    ),
    PlantedCell(
        "future that nobody reads",
        """
asyncio.get_running_loop().create_future().set_exception(ValueError("no price"))
""",
        "A failure was lost: Future exception was never retrieved raised ValueError: no price",
    ),
    PlantedCell(
        "task that vanishes",
        """
async def wait_for_nobody():
    await asyncio.get_running_loop().create_future()

asyncio.create_task(wait_for_nobody())
await asyncio.sleep(0)
_ = gc.collect()
""",
        "wait_for_nobody() created at line 4 of this cell vanished before it was done",
    ),
    PlantedCell(
        "exception in a thread",
        """
def work():
    raise ValueError("no price")

thread = threading.Thread(target=work, name="pricer")
thread.start()
thread.join()
""",
        "LostFailureError: A failure was lost: thread pricer raised ValueError: no price",
    ),
    PlantedCell(
        "clean twin: a handler of its own",
        """
asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
""",
        None,
    ),
    PlantedCell(
        "failure with a handler that was replaced",
        """
asyncio.create_task(fail())
await asyncio.sleep(0)
_ = gc.collect()
""",
        "LostFailureError: A failure was lost: fail()",
    ),
    PlantedCell(
        "background task of an app behind a 200",
        """
from deskbook.authoring.app_watch import AppWatch

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
    raise ValueError("mail not sent")

transport = httpx.ASGITransport(AppWatch(app), raise_app_exceptions=False)
async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
    reply = await client.get("/")
assert reply.status_code == 200
""",
        "GET an unknown route, after its reply 200, raised ValueError: mail not sent",
    ),
    PlantedCell(
        "background task of the reference app behind a 200",
        """
from deskbook.desk import running_app
from fastapi import BackgroundTasks

async def send_mail():
    raise ValueError("mail not sent")

async with running_app() as desk:

    @desk.app.post("/mails")
    async def mail(tasks: BackgroundTasks):
        tasks.add_task(send_mail)

    reply = await desk.client.post("/mails")
assert reply.status_code == 200
""",
        "POST /mails, after its reply 200, raised ValueError: mail not sent",
    ),
    PlantedCell(
        "exception group after an earlier error",
        """
async with asyncio.TaskGroup() as group:
    group.create_task(fail())
""",
        "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)",
    ),
    PlantedCell(
        "clean twin: a long-lived task has an owner",
        """
from deskbook.authoring.hook import long_lived

with long_lived("the next cell"):
    server = asyncio.create_task(asyncio.sleep(60))
""",
        None,
    ),
    PlantedCell(
        "clean twin: its owner ends it",
        """
server.cancel()
_ = await asyncio.wait([server])
""",
        None,
    ),
]

# What plain nbval does compare; a wider sanitize file or skip list turns these green, and the test red.
COMPARED = {
    "wrong text": ('print("3 prices")', [("stdout", "4 prices\n")]),
    "outputs stripped": ('print("3 prices")', []),
    "stderr differs": ('import sys\n\nprint("one", file=sys.stderr)', [("stderr", "two\n")]),
    "stderr is new": ('print("one", file=sys.stderr)', []),
}

FIRST_GROUP = [
    f"""
import asyncio
{FAIL}
async with asyncio.TaskGroup() as group:
    group.create_task(fail())
""",
    """
try:
    raise ExceptionGroup("prices", [ValueError("no price")])
except* ValueError:
    1 / 0
""",
]


def cell_of(source: str, outputs: list[Any] | None = None, tags: tuple[str, ...] = ()) -> Any:
    cell = nbformat.v4.new_code_cell(source.strip(), execution_count=1, outputs=outputs or [])
    cell.metadata["tags"] = list(tags)
    return cell


def stream(name: str, text: str) -> Any:
    return nbformat.v4.new_output("stream", name=name, text=text)


def division_by_zero() -> Any:
    return nbformat.v4.new_output(
        "error", ename="ZeroDivisionError", evalue="division by zero", traceback=["division by zero"]
    )


def write(path: Path, cells: list[Any]) -> Path:
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


class Verdicts:
    """What one strict run said about every cell of its notebooks."""

    def __init__(self, report: Path, log: Path, exit_code: int, seconds: float) -> None:
        self.exit_code = exit_code
        self.seconds = seconds
        self.log = log.read_text()
        self._failures: dict[tuple[str, int], str | None] = {}
        for case in ElementTree.parse(report).iter("testcase"):
            failure = case.find("failure")
            notebook = case.attrib["classname"].rsplit(".", 1)[0].rsplit(".", 1)[-1]
            number = int(case.attrib["name"].removeprefix("Cell "))
            self._failures[notebook, number] = None if failure is None else str(failure.text)

    def failure(self, notebook: str, number: int) -> str | None:
        """Return the text of the failure of a cell, or None if it passed."""
        return self._failures[notebook, number]


def verify(folder: Path, *notebooks: Path, options: tuple[str, ...] = ()) -> Verdicts:
    """Run notebooks strictly in a pytest of their own."""
    report, log = folder / "report.xml", folder / "log.txt"
    started = time.perf_counter()
    with log.open("w") as output:
        arguments = [f"--junitxml={report}", "--color=no", *options, *map(str, notebooks)]
        code = strict_pytest(arguments, output=output.fileno())
    return Verdicts(report, log, code, time.perf_counter() - started)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """Run all planted notebooks once; a pytest start costs more than most of them."""
    folder = tmp_path_factory.mktemp("holes")
    background = [
        cell_of(each.source, [division_by_zero()], ("raises-exception",))
        if each.error
        else cell_of(each.source)
        for each in BACKGROUND
    ]
    compared = [cell_of(source, [stream(*each) for each in outs]) for source, outs in COMPARED.values()]
    return verify(
        folder,
        write(folder / "background.ipynb", background),
        write(folder / "compared.ipynb", compared),
        write(folder / "unexecuted.ipynb", [nbformat.v4.new_code_cell("print('never compared')")]),
        write(folder / "first_group.ipynb", [cell_of(source) for source in FIRST_GROUP]),
        Path(shutil.copy(CLEAN_LESSON, folder)),
    )


@pytest.mark.parametrize("planted", [each for each in BACKGROUND if each.says], ids=lambda each: each.name)
def test_what_a_cell_leaves_behind_turns_it_red_and_says_why(
    verdicts: Verdicts, planted: PlantedCell, record_property: Callable[[str, object], None]
) -> None:
    record_property("proven", "planted holes of nbval closed")
    failure = verdicts.failure("background", BACKGROUND.index(planted))
    assert failure is not None
    assert str(planted.says) in failure


@pytest.mark.parametrize(
    "planted", [each for each in BACKGROUND if not each.says], ids=lambda each: each.name
)
def test_a_cell_that_cleans_up_stays_green(verdicts: Verdicts, planted: PlantedCell) -> None:
    assert verdicts.failure("background", BACKGROUND.index(planted)) is None


@pytest.mark.parametrize("name", COMPARED)
def test_a_stored_output_that_differs_turns_the_cell_red(
    verdicts: Verdicts, name: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("proven", "planted holes of nbval closed")
    failure = verdicts.failure("compared", list(COMPARED).index(name))
    assert failure is not None
    assert "Cell outputs differ" in failure


def test_a_cell_that_was_never_executed_is_red(
    verdicts: Verdicts, record_property: Callable[[str, object], None]
) -> None:
    record_property("proven", "planted holes of nbval closed")
    assert "The cell was never executed. Run:" in str(verdicts.failure("unexecuted", 0))


def test_an_exception_group_as_first_error_of_a_kernel_neither_hangs_nor_passes(
    verdicts: Verdicts, record_property: Callable[[str, object], None]
) -> None:
    record_property("proven", "planted holes of nbval closed")
    failure = verdicts.failure("first_group", 0)
    assert failure is not None
    assert "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)" in failure
    assert "ValueError: no price" in failure
    assert "Timeout" not in verdicts.log


def test_an_error_raised_while_a_group_is_handled_is_shown_as_an_error(verdicts: Verdicts) -> None:
    failure = verdicts.failure("first_group", 1)
    assert failure is not None
    assert "ZeroDivisionError: division by zero" in failure


def test_a_cell_that_hangs_ends_at_the_limit_and_the_summary_names_what_it_hid(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("proven", "planted holes of nbval closed")
    hanging = write(
        tmp_path / "hanging.ipynb",
        [cell_of("import asyncio\n\nawait asyncio.sleep(3600)"), cell_of("print(1)"), cell_of("1 + 1")],
    )
    verdicts = verify(tmp_path, hanging, options=("--cell-timeout=1",))
    assert verdicts.exit_code == 1
    failure = str(verdicts.failure("hanging", 0))
    assert "Timeout of 1 seconds exceeded" in failure
    assert "the cell was stopped" in failure
    assert "2 cells not judged, because a cell before them timed out" in verdicts.log


def test_the_clean_lesson_is_green_and_every_changed_output_in_it_is_noticed(verdicts: Verdicts) -> None:
    cells = [cell for cell in read_notebook(CLEAN_LESSON)["cells"] if cell["cell_type"] == "code"]
    assert [verdicts.failure("11_clean_lesson", number) for number in range(len(cells))] == [None] * len(
        cells
    )
    assert "survived" not in verdicts.log
    assert re.search(r"mutants: \d+ changed outputs, .* noticed \(100.0%\)", verdicts.log), verdicts.log
