"""The command `deskbook explore`: look for a race in your own service, without writing a test first."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from deskbook.races._errors import UnsupportedPython
from deskbook.races._exploration import explore_sync
from deskbook.races._story.report import Report
from deskbook.races._subject.http_files import read_http_file
from deskbook.races._subject.http_request import Request


@click.command()
@click.argument("factory", metavar="MODULE:CREATE_APP")
@click.argument(
    "files", metavar="A.http B.http ...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--invariant", metavar="MODULE:CHECK", help="check(app, responses), called after every schedule."
)
@click.option("--observe", metavar="MODULE:FUNCTION", help="observe(app), the state to compare and to show.")
@click.option("--bound", type=click.IntRange(min=0), help="The highest number of preemptions to try.")
@click.option("--max-seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True)
@click.option(
    "--max-schedules", type=click.IntRange(min=1), help="A budget that does not depend on the machine."
)
@click.option("--cancel", multiple=True, metavar="NAME", help="A request whose task may be cancelled.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where files go."
)
def explore(
    factory: str,
    files: tuple[Path, ...],
    invariant: str | None,
    observe: str | None,
    bound: int | None,
    max_seconds: float,
    max_schedules: int | None,
    cancel: tuple[str, ...],
    out: Path,
) -> None:
    """Explore the interleavings of requests against an application.

    CREATE_APP returns a fresh application. Each .http file holds one request; its name without the ending is
    the name of the request. Without --invariant the rule is that every outcome equals that of some sequential
    order.

    A counterexample is written as a picture (race.svg) and as a test that replays it (test_race.py); the exit
    status is then 1. It is 2 if the search could not decide, 0 if no counterexample exists up to the bound.

    Example: deskbook explore shop.app:create_app A.http B.http
    """
    sys.path.insert(0, str(Path.cwd()))
    make_app = _load(factory)
    requests = _requests(files)
    check = _load(invariant) if invariant else None
    look = _load(observe) if observe else None
    try:
        report = explore_sync(
            make_app,
            requests,
            invariant=check,
            oracle=None if check else "serializable",
            observe=look,
            preemption_bound=bound,
            max_seconds=max_seconds,
            max_schedules=max_schedules,
            cancel=cancel,
        )
    except (ValueError, UnsupportedPython) as error:
        raise click.ClickException(str(error)) from None
    click.echo(report.text())
    if report.counterexample is not None:
        _write_files(out, report, factory, requests, invariant, observe)
        raise SystemExit(1)
    if report.verdict == "inconclusive":
        raise SystemExit(2)


def _load(reference: str) -> Callable[..., Any]:
    module_name, colon, attribute = reference.partition(":")
    if not colon or not attribute:
        raise click.ClickException(f"{reference!r} must be MODULE:NAME, such as shop.app:create_app")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"cannot import {error.name!r}; start the command in the folder that holds it, or install it"
        ) from None
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise click.ClickException(f"{module_name} has no function {attribute!r}")
    return found  # type: ignore[no-any-return]


def _requests(files: tuple[Path, ...]) -> dict[str, Request]:
    requests: dict[str, Request] = {}
    for path in files:
        name = re.sub(r"\W|^\d+|\d+$", "", path.stem) or "A"
        if name in requests:
            raise click.ClickException(f"two files give the request name {name!r}; rename one of them")
        try:
            requests[name] = read_http_file(path)
        except FileNotFoundError:
            raise click.ClickException(f"there is no file {path}") from None
        except (ValueError, UnicodeDecodeError) as error:
            raise click.ClickException(str(error)) from None
    return requests


def _write_files(
    out: Path,
    report: Report,
    factory: str,
    requests: dict[str, Request],
    invariant: str | None,
    observe: str | None,
) -> None:
    assert report.counterexample is not None
    out.mkdir(parents=True, exist_ok=True)
    (out / "race.svg").write_text(report.counterexample.timeline().svg(), encoding="utf-8")
    test = _test_source(report.counterexample.schedule, factory, requests, invariant, observe)
    (out / "test_race.py").write_text(test, encoding="utf-8")
    click.echo(f"picture: {out / 'race.svg'}\ntest that replays it: {out / 'test_race.py'}")


def _test_source(
    schedule: str, factory: str, requests: dict[str, Request], invariant: str | None, observe: str | None
) -> str:
    """Return a pytest file that fails as long as the race is there."""
    imports = {"from deskbook.races import explore_sync, replay, request"}
    names = {}
    for key, reference in (("make_app", factory), ("invariant", invariant), ("observe", observe)):
        if reference:
            module, _, attribute = reference.partition(":")
            imports.add(f"import {module}")
            names[key] = f"{module}.{attribute}"
    lines = ['"""A race that `deskbook explore` found: red until it is fixed."""', ""]
    lines.extend(sorted(imports, key=lambda line: (line.startswith("from"), line)))
    lines.extend(["", "REQUESTS = {"])
    for name, one in requests.items():
        options = "".join(f", {key}={value!r}" for key, value in one.options.items())
        lines.append(f'    "{name}": request({one.method!r}, {one.path!r}{options}),')
    lines.extend(["}", "", ""])
    observed = f", observe={names['observe']}" if observe else ""
    if invariant:
        lines.extend(
            [
                "def test_the_interleaving_that_broke_the_invariant():",
                f"    run = replay({names['make_app']}, REQUESTS, schedule={schedule!r}, "
                f"invariant={names['invariant']}{observed}, strict=False)",
                "    assert run.recorded.failure is None, run.timeline()",
                "",
                "",
            ]
        )
    rule = f"invariant={names['invariant']}" if invariant else 'oracle="serializable"'
    lines.extend(
        [
            "def test_no_interleaving_breaks_the_rule():",
            f"    # The interleaving that was found: {schedule}",
            f"    report = explore_sync({names['make_app']}, REQUESTS, {rule}{observed})",
            "    report.assert_no_race()",
            "",
        ]
    )
    return "\n".join(lines)
