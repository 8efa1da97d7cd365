"""What is public, how the explorer is built inside, and that nothing of it depends on names and folders.

Who may import whom stands in pyproject.toml, and tests/app/test_layers.py runs it.
"""

import asyncio
import pkgutil
import re
from pathlib import Path

import deskbook.races
import grimp
import pytest
from deskbook.races import _frames as frames
from deskbook.races import explore, get
from deskbook.races._loop.controlled import ControlledLoop
from deskbook.races._loop.threads import driver
from race_cases.corpus.racy_app import app_with

ROOT = Path(__file__).parents[2]
FOLDER = Path(deskbook.races.__file__).parent

PUBLIC_NAMES = """
    AsyncpgGate BadSchedule Counterexample Deadlock Diverged Failure Livelock NotProven Overlap PsycopgGate
    RaceError RaceFound RedisGate Report Request SQLAlchemyGate Timeline UngatedIO UnsupportedPython
    can_overlap delete explore explore_sync get in_sequence patch post put replay request stream suspends
    websocket
"""

#: What may be imported beside the package: the command and the plugin are named in pyproject.toml.
PUBLIC_MODULES = {"commands", "pytest_plugin"}


def test_the_public_names_are_these():
    assert sorted(deskbook.races.__all__) == sorted(PUBLIC_NAMES.split())
    assert dir(deskbook.races) == sorted(deskbook.races.__all__)


@pytest.mark.parametrize("name", PUBLIC_NAMES.split())
def test_a_public_name_can_be_imported_and_says_what_it_is(name):
    assert getattr(deskbook.races, name).__doc__


def test_every_other_module_begins_with_an_underscore():
    modules = {module.name for module in pkgutil.iter_modules([str(FOLDER)])}
    assert {name for name in modules if not name.startswith("_")} == PUBLIC_MODULES


def test_the_top_level_has_at_most_fifteen_rooms():
    rooms = {path.name for path in FOLDER.iterdir() if path.name != "__pycache__"}
    assert len(rooms) <= 15, sorted(rooms)


def test_there_is_one_door():
    """Lessons, exercises and the toolkit take every name from `deskbook.races` itself."""
    other_door = re.compile(r"(?:from|import) deskbook\.races\.(?!commands\b|pytest_plugin\b)\w+")
    found = {}
    for pattern in ("notebooks/*.ipynb", "notebooks/deskbook/**/*.py", "exercises/**/*.py", "README.md"):
        for path in ROOT.glob(pattern):
            if FOLDER not in path.parents:
                found[str(path.relative_to(ROOT))] = other_door.findall(path.read_text(encoding="utf-8"))
    assert len(found) > 200
    assert {path: names for path, names in found.items() if names} == {}


def test_no_module_is_imported_in_a_circle():
    graph = grimp.build_graph("deskbook", cache_dir=None)
    mine = {module for module in graph.modules if module.startswith("deskbook.races.")}
    above = {module: graph.find_modules_directly_imported_by(module) & mine for module in mine}
    while leaves := {module for module, imported in above.items() if not imported}:
        above = {module: imported - leaves for module, imported in above.items() if module not in leaves}
    assert above == {}


async def test_what_stands_below_the_loop_is_not_taken_for_code_of_the_service():
    """This test calls the explorer, so it is on the stack of every `send`; else that would be a choice."""

    def handler(app):
        async def handle():
            app.state.n += 1
            await asyncio.sleep(0)

        return handle

    report = await explore(lambda: app_with(handler), {"A": get("/"), "B": get("/")}, reduce=False)
    assert (report.verdict, report.schedules) == ("exhausted", 6)


def test_the_loop_is_known_by_its_code_and_not_by_a_name():
    assert frames.floor() is ControlledLoop._drive.__code__


@pytest.mark.parametrize("function", [driver.run_controlled, driver._drive_call, driver._wait])
def test_the_coroutines_that_drive_a_thread_are_known_by_their_code_and_not_by_a_folder(function):
    assert frames.kind_of_file(function.__code__.co_filename) == frames.USER
    assert frames.kind_of_file(driver.ControlledCall.run.__code__.co_filename) == frames.PLUMBING


async def test_the_call_of_a_thread_is_found_in_the_frame_that_drives_it():
    call = driver.ControlledCall(lambda: None, ())
    coroutine = driver._drive_call(call, None)
    assert frames.stand_in_of(coroutine.cr_frame) is call
    coroutine.close()
    call.abandon()
