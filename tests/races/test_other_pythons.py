"""What Python versions do differently, and what the explorer must not notice of it."""

import asyncio
import sys
from types import SimpleNamespace

import pytest
from deskbook.races import UnsupportedPython, explore, replay

#: How a task can be started, on this Python.
WAYS = ["as usual"]
WAYS += ["a factory"] if sys.version_info >= (3, 12) else []
WAYS += ["an argument"] if sys.version_info >= (3, 14) else []


def subject():
    return SimpleNamespace(n=0)


def n_is_two(one, responses):
    assert one.n == 2


async def bump(one):
    n = one.n
    await asyncio.sleep(0)
    one.n = n + 1


async def test_the_task_that_explores_is_the_current_one_before_and_after():
    """From Python 3.14 on a thread has one current task: the explorer puts the caller's aside and back."""
    me = asyncio.current_task()
    seen = []

    async def request(one):
        seen.append(asyncio.current_task())
        await bump(one)

    report = await explore(subject, {"A": request, "B": request}, invariant=n_is_two)
    assert report.counterexample.schedule == "A B2 A"
    run = replay(subject, {"A": request, "B": request}, schedule="A B2 A", invariant=n_is_two)
    assert run.recorded.failure is not None
    assert asyncio.current_task() is me
    assert me not in seen
    assert {task.get_name() for task in seen} == {"A", "B"}
    await asyncio.sleep(0)  # the loop of this test still runs its tasks


def start(way, coroutine):
    """Start a task: as usual, or at once, as the two newer ways do."""
    if way == "a factory":
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    options = {"eager_start": True} if way == "an argument" else {}
    return asyncio.create_task(coroutine, name="counts", **options)


@pytest.mark.parametrize("way", WAYS)
async def test_nobody_comes_between_a_task_that_starts_at_once_and_its_first_await(way):
    async def write(one, n):
        one.n = n
        await asyncio.sleep(0)

    async def request(one):
        task = start(way, write(one, one.n + 1))
        assert task.get_name() == "counts"
        await task

    report = await explore(subject, {"A": request, "B": request}, invariant=n_is_two)
    assert report.verdict == ("counterexample" if way == "as usual" else "exhausted"), report


@pytest.mark.parametrize("way", WAYS)
async def test_a_race_behind_the_first_await_is_found_however_the_task_starts(way):
    async def request(one):
        await start(way, bump(one))

    report = await explore(subject, {"A": request, "B": request}, invariant=n_is_two)
    assert report.verdict == "counterexample", report


async def test_a_task_factory_need_not_know_about_names():
    made = []

    def factory(loop, coroutine, **options):
        assert "name" not in options
        made.append(asyncio.Task(coroutine, loop=loop, **options))
        return made[-1]

    async def request(one):
        asyncio.get_running_loop().set_task_factory(factory)
        await asyncio.create_task(bump(one), name="counts")

    report = await explore(subject, {"A": request, "B": request}, invariant=n_is_two)
    assert report.verdict == "counterexample", report
    assert {task.get_name() for task in made} == {"counts"}


async def test_a_comprehension_is_one_line_of_a_story():
    """Up to Python 3.11 it is a frame of its own, which reports its line once more."""

    async def request(one):
        seen = [number for number in range(one.n)]  # noqa: C416
        await asyncio.sleep(0)
        one.n = len(seen) + 1

    run = replay(subject, {"A": request}, schedule="A2")
    assert str(run.timeline()).count("seen = [") == 1


async def test_a_free_threaded_python_is_refused_with_a_sentence(monkeypatch):
    monkeypatch.setattr("sysconfig.get_config_var", lambda name: name == "Py_GIL_DISABLED")
    with pytest.raises(UnsupportedPython, match="this is a free-threaded Python"):
        await explore(subject, {"A": bump, "B": bump})
