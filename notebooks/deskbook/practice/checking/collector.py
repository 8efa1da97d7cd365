"""The pytest plugin of a check: gives the answer to the tests and tells what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from _pytest.outcomes import OutcomeException

from deskbook.practice.checking.evidence import Evidence, shown
from deskbook.practice.checking.own_lines import describe, forgotten_await, origin, own_lines
from deskbook.practice.checking.protocol import Failed, News, Problem
from deskbook.practice.for_checks import Desk

if TYPE_CHECKING:
    from deskbook.practice.checking.database import CheckDatabase

#: Sends one piece of news to the worker.
Tell = Callable[[News], None]

_evidence = pytest.StashKey[Evidence]()


class AnswerEndedError(Exception):
    """The answer tried to end the program."""


class Collector:
    """Runs the tests of one exercise against one answer, up to the first that fails.

    Args:
        answer: What the fixture `answer` gives.
        tell: Called with the start and the outcome of each test.
    """

    def __init__(self, answer: Any, tell: Tell) -> None:
        self._answer = answer
        self._tell = tell

    @pytest.fixture
    def answer(self) -> Any:
        """The learner's answer: its names are attributes."""
        return self._answer

    @pytest.fixture
    def evidence(self, request: pytest.FixtureRequest) -> Evidence:
        """What this check shows beside its sentence."""
        collected: Evidence = request.node.stash.setdefault(_evidence, Evidence())
        return collected

    @pytest.fixture(scope="session")
    def _database(self) -> Iterator[CheckDatabase]:
        from deskbook.practice.checking.database import CheckDatabase

        with CheckDatabase() as database:
            yield database

    @pytest.fixture
    def database_url(self, _database: CheckDatabase) -> str:
        """Address of an empty PostgreSQL database; nobody but this check knows it."""
        return _database.emptied()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Say which test begins, for the case that it never ends."""
        self._tell({"kind": "running", "what": _function_of(nodeid)})

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Run coroutine functions in a loop of their own, and survive an answer that ends the program."""
        test = pyfuncitem.obj
        if inspect.iscoroutinefunction(test):
            pyfuncitem.obj = lambda **arguments: asyncio.run(_with_desk(test, arguments))
        try:
            return (yield)
        except (SystemExit, KeyboardInterrupt, OutcomeException, pytest.exit.Exception) as error:
            ended = AnswerEndedError(f"{type(error).__name__} ended the program")
            raise ended.with_traceback(error.__traceback__) from None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
        """Tell the outcome of a test.

        pytest's own report of a failure is for a terminal: it parses the source of every file that the
        exception went through. Measured: 20 MB and a third of the check.
        """
        name = _function_of(item.nodeid)
        if call.excinfo is not None:
            self._tell(_failure(name, call.excinfo.value, item.stash.get(_evidence, None)))
        elif call.when == "call":
            self._tell({"kind": "passed", "test": name})
        outcome: Literal["passed", "failed"] = "passed" if call.excinfo is None else "failed"
        when = cast(Literal["setup", "call", "teardown"], call.when)  # a test is never collected here
        return pytest.TestReport(item.nodeid, item.location, {}, outcome, None, when)

    def pytest_internalerror(self) -> bool:
        """Keep pytest from printing its own traceback: the worker sees that the run did not end."""
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tell that `checks.py` itself is broken, which is no fault of the answer."""
        if report.failed:
            reason = shown(str(report.longrepr)).strip().splitlines()[-1]
            self._tell({"kind": "broken", "reason": reason})


async def _with_desk(test: Callable[..., Awaitable[None]], arguments: dict[str, Any]) -> None:
    """Run a test; its desk, if it has one, is open meanwhile, in the event loop of the test."""
    async with contextlib.AsyncExitStack() as stack:
        for value in arguments.values():
            if isinstance(value, Desk):
                await stack.enter_async_context(value)
        await test(**arguments)


def _function_of(nodeid: str) -> str:
    return nodeid.rpartition("::")[2].partition("[")[0]


def _failure(test: str, error: BaseException, evidence: Evidence | None) -> Failed:
    """Say what a failed test means.

    An exception that went through the answer is the learner's; an assertion, or anything else that the check
    met, means that the answer is wrong.
    """
    evidence = evidence or Evidence()
    state: Literal["wrong", "error"] = "wrong"
    cause = origin(error)
    if own_lines(cause) and not (isinstance(error, AssertionError) and not own_lines(error)):
        state, problem = "error", describe(cause)
    elif isinstance(error, AssertionError):
        problem = Problem(message=_assertion(error), lines=[])
    else:
        problem = Problem(message=forgotten_await(error) or describe(cause)["message"], lines=[])
    return {
        "kind": "failed",
        "test": test,
        "state": state,
        "problem": problem,
        "facts": evidence.facts,
        "pictures": evidence.pictures,
    }


def _assertion(error: AssertionError) -> str:
    """Return what the check says; without a message, pytest's account of the comparison."""
    text = shown(str(error))
    said, line, rest = text.partition("\nassert ")
    if line and said:
        return said
    return text.removeprefix("assert ") if not rest else f"expected {rest}"
