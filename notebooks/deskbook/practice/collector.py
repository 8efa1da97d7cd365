"""The pytest plugin of a check: gives the answer to the tests and tells what became of each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from _pytest.outcomes import OutcomeException

from .evidence import Evidence, shown
from .own_lines import describe, forgotten_await, origin, own_lines

if TYPE_CHECKING:
    from .database import Database

#: Sends one piece of news to the worker.
Tell = Callable[[dict[str, Any]], None]

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
    def _database(self) -> Iterator[Database]:
        from .database import Database

        with Database() as database:
            yield database

    @pytest.fixture
    def database_url(self, _database: Database) -> str:
        """Address of an empty PostgreSQL database; nobody but this check knows it."""
        return _database.emptied()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Say which test begins, for the case that it never ends."""
        self._tell({"running": _function_of(nodeid)})

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Run coroutine functions in a loop of their own, and survive an answer that ends the program."""
        test = pyfuncitem.obj
        if inspect.iscoroutinefunction(test):
            pyfuncitem.obj = lambda **arguments: asyncio.run(test(**arguments))
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
            self._tell({"test": name, **_failure(call.excinfo.value, item.stash.get(_evidence, None))})
        elif call.when == "call":
            self._tell({"test": name, "outcome": "passed"})
        outcome: Literal["passed", "failed"] = "passed" if call.excinfo is None else "failed"
        when = cast(Literal["setup", "call", "teardown"], call.when)  # a test is never collected here
        return pytest.TestReport(item.nodeid, item.location, {}, outcome, None, when)

    def pytest_internalerror(self) -> bool:
        """Keep pytest from printing its own traceback: the worker sees that the run did not end."""
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tell that `checks.py` itself is broken, which is no fault of the answer."""
        if report.failed:
            self._tell({"broken": shown(str(report.longrepr)).strip().splitlines()[-1]})


def _function_of(nodeid: str) -> str:
    return nodeid.rpartition("::")[2].partition("[")[0]


def _failure(error: BaseException, evidence: Evidence | None) -> dict[str, Any]:
    """Return a failed test as plain data.

    An exception that went through the answer is the learner's; an assertion, or anything else that the check
    met, means that the answer is wrong.
    """
    evidence = evidence or Evidence()
    told: dict[str, Any] = {**evidence.facts, "pictures": evidence.pictures}
    cause = origin(error)
    if own_lines(cause) and not (isinstance(error, AssertionError) and not own_lines(error)):
        return {"outcome": "error", **describe(cause), **told}
    if isinstance(error, AssertionError):
        return {"outcome": "wrong", "message": _assertion(error), **told}
    message = forgotten_await(error) or describe(cause)["message"]
    return {"outcome": "wrong", "message": message, **told}


def _assertion(error: AssertionError) -> str:
    """Return what the check says; without a message, pytest's account of the comparison."""
    text = shown(str(error))
    said, line, rest = text.partition("\nassert ")
    if line and said:
        return said
    return text.removeprefix("assert ") if not rest else f"expected {rest}"
