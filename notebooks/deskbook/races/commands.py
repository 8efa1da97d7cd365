"""The command `deskbook explore`: look for a race in your own service, without writing a test first."""

from __future__ import annotations

import importlib
import json
import re
import string
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from deskbook.races._errors import RaceError
from deskbook.races._exploration import explore_sync
from deskbook.races._schedule import check_names
from deskbook.races._story.report import Report
from deskbook.races._subject.http_files import read_http_file
from deskbook.races._subject.http_request import Request


class NothingRan(click.ClickException):
    """What was asked cannot be run; the exit status says that nothing was decided."""

    exit_code = 2


@click.command()
@click.argument("target", metavar="MODULE:APP")
@click.argument(
    "files", metavar="A.http B.http ...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--invariant", metavar="MODULE:CHECK", help="check(app, responses), called after every schedule."
)
@click.option("--observe", metavar="MODULE:FUNCTION", help="observe(app), the state to compare and to show.")
@click.option("--database", metavar="URL", help="PostgreSQL that the service uses: its statements are steps.")
@click.option("--redis", metavar="URL", help="Redis or Valkey that the service uses: its commands are steps.")
@click.option(
    "--reset",
    metavar="SQL|auto",
    help="SQL to run before every schedule, or auto to empty all tables (which must be empty now).",
)
@click.option(
    "--setup",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="SETUP.http",
    help="Requests sent before every schedule, such as a registration.",
)
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="A value for {{NAME}}.")
@click.option("--bound", type=click.IntRange(min=0), help="The highest number of preemptions to try.")
@click.option("--max-seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True)
@click.option(
    "--max-schedules", type=click.IntRange(min=1), help="A budget that does not depend on the machine."
)
@click.option("--cancel", multiple=True, metavar="NAME", help="A request whose task may be cancelled.")
@click.option(
    "--clock", type=click.Choice(["explored", "idle"]), default="explored", help="When the clock may move."
)
@click.option("--send", type=click.Choice(["asgi", "httpx"]), default="asgi", help="How requests are sent.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where files go."
)
def explore(
    target: str,
    files: tuple[Path, ...],
    invariant: str | None,
    observe: str | None,
    database: str | None,
    redis: str | None,
    reset: str | None,
    setup: Path | None,
    variables: tuple[str, ...],
    bound: int | None,
    max_seconds: float,
    max_schedules: int | None,
    cancel: tuple[str, ...],
    clock: str,
    send: str,
    as_json: bool,
    out: Path,
) -> None:
    """Explore the interleavings of requests against an application.

    APP is the application, as uvicorn takes it, or a function that returns a fresh one. Each .http file is
    one client: its name without the ending is the name of the request, and several requests in it are sent
    one after the other. Without --invariant the rule is that every outcome equals that of a sequential order.

    First it shows what each request answers alone and in order. A counterexample is written as a picture
    (race.svg) and as a test that replays it (test_race.py).

    The exit status is 0 if no counterexample exists (up to a bound that is named), 1 for a race, and 2 if
    nothing was decided: the budget ended, no request was accepted, something was not under control, or the
    rule fails without any concurrency.

    Example: deskbook explore shop:app A.http B.http
    """
    sys.path.insert(0, str(Path.cwd()))
    known = _variables(variables)
    make_app = _application(target, keeps_one=database is not None or redis is not None)
    requests = _requests(files, known)
    check = _load(invariant) if invariant else None
    look = _load(observe) if observe else None
    if reset is not None and database is None:
        raise NothingRan("--reset is SQL for a database: pass --database URL too")
    gates = _gates(database, redis)
    try:
        report = explore_sync(
            _with_reset(make_app, database, reset),
            requests,
            invariant=check,
            oracle=None if check else "serializable",
            observe=look,
            preemption_bound=bound,
            max_seconds=max_seconds,
            max_schedules=max_schedules,
            cancel=cancel,
            clock=clock,
            send=send,
            setup=[_read(setup, known)] if setup else (),
            **({"gate": gates[0] if len(gates) == 1 else gates} if gates else {}),
        )
    except (ValueError, RaceError, OSError) as error:
        raise NothingRan(str(error) or type(error).__name__) from None
    if as_json:
        click.echo(json.dumps(_as_json(report), indent=2, ensure_ascii=False))
    else:
        click.echo(report.answers.text())
        click.echo()
        click.echo(report.text())
    if report.counterexample is not None and not report.fails_in_sequence:
        _write_files(out, report, target, requests, invariant, observe, quiet=as_json)
        raise SystemExit(1)
    if report.verdict in ("inconclusive", "counterexample"):
        raise SystemExit(2)


def _variables(given: Sequence[str]) -> dict[str, str]:
    known = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise NothingRan(f"--var {text!r} must be NAME=VALUE, such as --var amount=60")
        known[name.strip()] = value
    return known


def _gates(database: str | None, redis: str | None) -> list[Any]:
    """Return the gates for the servers that were named."""
    from deskbook.races._gates import AsyncpgGate, RedisGate

    found: list[Any] = []
    if database is not None:
        if not re.match(r"postgres(ql)?(\+\w+)?://", database):
            kind = database.partition(":")[0]
            raise NothingRan(
                f"--database takes a PostgreSQL address (postgresql://user@host/name), not {kind!r}"
            )
        found.append(AsyncpgGate(database))
    if redis is not None:
        found.append(RedisGate())
    return found


def _with_reset(make_app: Callable[[], Any], database: str | None, sql: str | None) -> Callable[[], Any]:
    if sql is None or database is None:
        return make_app
    address = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", database)

    tables_to_empty: list[str] = []

    async def make() -> Any:
        import asyncpg

        connection = await asyncpg.connect(address)
        try:
            if sql != "auto":
                await connection.execute(sql)
            else:
                tables_to_empty[:] = tables_to_empty or await _empty_tables(connection)
                await connection.execute(f"truncate {', '.join(tables_to_empty)} restart identity cascade")
        finally:
            await connection.close()
        app = make_app()
        return await app if hasattr(app, "__await__") else app

    make.__name__ = getattr(make_app, "__name__", "make_app")
    return make


async def _empty_tables(connection: Any) -> list[str]:
    """Return the tables of a database, all of which must be empty before they may be emptied.

    Raises:
        ValueError: For a table that holds rows, or a database without a table.
    """
    rows = await connection.fetch(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in "
        "('pg_catalog', 'information_schema') and tablename <> 'alembic_version' order by 1"
    )
    tables = [str(row[0]) for row in rows]
    if not tables:
        raise ValueError("--reset auto found no table in the database: make its tables first (migrations)")
    for table in tables:
        if await connection.fetchval(f"select exists (select from {table})"):  # noqa: S608 - quoted by format
            raise ValueError(
                f"--reset auto would empty {table}, which holds rows: name an empty database, or write the "
                f"SQL that puts this one back, such as --reset 'truncate client'"
            )
    return tables


def _application(target: str, *, keeps_one: bool) -> Callable[[], Any]:
    """Return what makes the application, for a function that returns one and for one that is there.

    An application that stands in its module shares what else stands there: a dictionary, a lock, a cache. So
    the module is imported anew for every schedule, except with a server: its connections would pile up.
    """
    found = _load(target)
    if not _is_application(found):
        return found
    if keeps_one:
        return lambda: found
    module_name, _, attribute = target.partition(":")
    mine = _modules_beside(module_name)

    def import_anew() -> Any:
        for name in mine:
            sys.modules.pop(name, None)
        app: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            app = getattr(app, part)
        return app

    return import_anew


def _is_application(found: Any) -> bool:
    """Tell whether an object is an ASGI application, as opposed to a function that returns one."""
    return hasattr(found, "router") or hasattr(found, "middleware_stack")


def _modules_beside(module_name: str) -> list[str]:
    """Return the modules of the project: those that stand in the folder of the application's module."""
    file = getattr(sys.modules[module_name], "__file__", None)
    if file is None:
        return [module_name]
    folder = Path(file).resolve().parents[module_name.count(".")]
    found = []
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        is_mine = path and "site-packages" not in path and Path(path).resolve().is_relative_to(folder)
        if is_mine and name != "__main__" and not name.startswith("deskbook"):
            found.append(name)
    return found


def _load(reference: str) -> Callable[..., Any]:
    module_name, colon, attribute = reference.partition(":")
    if not colon or not attribute:
        raise NothingRan(f"{reference!r} must be MODULE:NAME, such as shop:app")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise NothingRan(
            f"cannot import {error.name!r}; start the command in the folder that holds it, or install it"
        ) from None
    except Exception as error:
        raise NothingRan(f"importing {module_name!r} failed: {type(error).__name__}: {error}") from None
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise NothingRan(f"{module_name} has no function {attribute!r}")
    return found  # type: ignore[no-any-return]


def _requests(files: tuple[Path, ...], variables: Mapping[str, str]) -> dict[str, Any]:
    requests: dict[str, Any] = {}
    letters = iter(string.ascii_uppercase)
    stems = [re.sub(r"\W|^\d+", "", path.stem) for path in files]
    usable = len(set(stems)) == len(stems) and all(map(_can_be_spelt, stems))
    for path, stem in zip(files, stems, strict=True):
        # A schedule writes `A2` for two steps of A, so files that end in digits are called A, B, C.
        name = stem if usable else next(letters, stem)
        requests[name] = _read(path, variables)
        if not usable:
            click.echo(f"{name} is {path}", err=True)
    return requests


def _can_be_spelt(name: str) -> bool:
    try:
        check_names([name])
    except ValueError:
        return False
    return True


def _read(path: Path, variables: Mapping[str, str]) -> Any:
    try:
        return read_http_file(path, variables)
    except FileNotFoundError:
        raise NothingRan(f"there is no file {path}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise NothingRan(str(error)) from None


def _as_json(report: Report) -> dict[str, Any]:
    """Return a report as plain data."""
    found, answers = report.counterexample, report.answers
    return {
        "verdict": report.verdict,
        "covers": report.covers,
        "is_proven": report.is_proven,
        "fails_in_sequence": report.fails_in_sequence,
        "schedules": report.schedules,
        "notes": list(report.notes),
        "answers": {
            "alone": answers.alone,
            "in_order": [{"order": list(order), "answers": given} for order, given in answers.in_order],
            "steps": answers.steps,
            "beside": answers.beside,
        },
        "counterexample": None
        if found is None
        else {
            "schedule": found.schedule,
            "kind": found.failure.kind,
            "message": found.failure.message,
            "preemptions": found.preemptions,
            "timeline": found.recorded.text(),
        },
    }


def _write_files(
    out: Path,
    report: Report,
    factory: str,
    requests: dict[str, Any],
    invariant: str | None,
    observe: str | None,
    *,
    quiet: bool,
) -> None:
    assert report.counterexample is not None
    out.mkdir(parents=True, exist_ok=True)
    (out / "race.svg").write_text(report.counterexample.timeline().svg(), encoding="utf-8")
    said = f"picture: {out / 'race.svg'}"
    # A test names its requests and the function that makes the application. It is written where both can be:
    # one request a client, and no server.
    if all(isinstance(one, Request) for one in requests.values()) and not _is_application(_load(factory)):
        test = _test_source(report.counterexample.schedule, factory, requests, invariant, observe)
        (out / "test_race.py").write_text(test, encoding="utf-8")
        said += f"\ntest that replays it: {out / 'test_race.py'}"
    click.echo(said, err=quiet)


def _test_source(
    schedule: str, factory: str, requests: dict[str, Any], invariant: str | None, observe: str | None
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
