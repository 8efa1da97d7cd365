"""The pytest side: the fixture `explore`, the marker `interleavings`, the option `--replay-schedule`.

    @pytest.mark.interleavings(bound=2)
    def test_two_withdrawals(explore):
        explore(make_app, {"A": post("/withdraw"), "B": post("/withdraw")}, invariant=check)

The test fails with the text timeline of a counterexample. In an `async def` test write `await explore(...)`.
Nothing of the explorer is imported before a test asks for the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Arguments of the marker and what `explore` calls them.
MARKER_ARGUMENTS = {
    "bound": "preemption_bound",
    "max_seconds": "max_seconds",
    "max_schedules": "max_schedules",
    "clock": "clock",
    "cancel": "cancel",
    "oracle": "oracle",
    "seed": "seed",
    "allow_inconclusive": "allow_inconclusive",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--replay-schedule`."""
    group = parser.getgroup("races", "interleavings of async code (deskbook.races)")
    group.addoption(
        "--replay-schedule",
        metavar="SCHEDULE",
        default=None,
        help='run this one interleaving instead of searching, such as --replay-schedule "A2 B3 A"',
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "interleavings(bound, max_seconds, max_schedules, clock, cancel, oracle, seed, allow_inconclusive): "
        "defaults for the fixture `explore` in this test",
    )


class Explore:
    """What the fixture gives: call it like `deskbook.races.explore`.

    Args:
        defaults: Options from the marker.
        schedule: The schedule of `--replay-schedule`, or None.
    """

    def __init__(self, defaults: Mapping[str, Any], schedule: str | None) -> None:
        self._defaults = dict(defaults)
        self._schedule = schedule

    def __call__(self, make_app: Callable[[], Any], requests: Mapping[str, Any], **options: Any) -> Any:
        """Search (or replay), and fail the test for a counterexample or an undecided search.

        Returns:
            The report, or, where a loop is running, a coroutine that returns it.

        Raises:
            RaceFound: With the text timeline.
            NotProven: If the search ended before it covered what was asked.
        """
        __tracebackhide__ = True
        import asyncio

        merged = {**self._defaults, **options}
        allow_inconclusive = bool(merged.pop("allow_inconclusive", False))
        if self._schedule is not None:
            return self._replay(make_app, requests, merged)
        search = self._search(make_app, requests, merged, allow_inconclusive=allow_inconclusive)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(search)
        return search

    async def _search(
        self,
        make_app: Callable[[], Any],
        requests: Mapping[str, Any],
        options: dict[str, Any],
        *,
        allow_inconclusive: bool,
    ) -> Any:
        __tracebackhide__ = True
        from deskbook.races._exploration import explore

        report = await explore(make_app, requests, **options)
        return report.assert_no_race(allow_inconclusive=allow_inconclusive)

    def _replay(
        self, make_app: Callable[[], Any], requests: Mapping[str, Any], options: dict[str, Any]
    ) -> Any:
        __tracebackhide__ = True
        from deskbook.races._exploration import replay
        from deskbook.races._story.report import RaceFound

        known = (
            "invariant",
            "observe",
            "reset",
            "cancel",
            "clock_jumps",
            "send",
            "setup",
            "gate",
            "max_steps",
        )
        chosen = {name: options[name] for name in known if name in options}
        run = replay(make_app, requests, schedule=self._schedule or "", **chosen)
        if run.recorded.failure is not None:
            raise RaceFound("\n" + run.recorded.text())
        return _Done(run)


class _Done:
    """A replay that is over, which an async test may await all the same."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    def __await__(self) -> Any:
        yield from ()
        return self.run


@pytest.fixture
def explore(request: pytest.FixtureRequest) -> Explore:
    """Search the interleavings of requests; see `deskbook.races.explore`."""
    defaults: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("interleavings"))):
        unknown = set(marker.kwargs) - set(MARKER_ARGUMENTS)
        if unknown or marker.args:
            raise pytest.UsageError(
                f"@pytest.mark.interleavings does not know {sorted(unknown) or marker.args}; "
                f"it knows the keywords {', '.join(MARKER_ARGUMENTS)}"
            )
        defaults.update({MARKER_ARGUMENTS[name]: value for name, value in marker.kwargs.items()})
    return Explore(defaults, request.config.getoption("--replay-schedule"))
