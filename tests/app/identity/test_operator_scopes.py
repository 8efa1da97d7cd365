"""`python -m reference_app.identity`: who may import candles, said on the command line and nowhere else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from deskbook.desk import RunningApp, running_app
from deskbook.desk.database import PASSWORD

from reference_app.identity import __main__ as command
from reference_app.identity.service import OperatorService
from reference_app.nouns import SCOPES

Run = Callable[..., Awaitable[str]]
EVERYTHING = " ".join(sorted([*SCOPES, "market:write"]))
USUAL = " ".join(sorted(SCOPES))
CANDLES = b"symbol,date,open,high,low,close,volume,adjusted_close\n"


@pytest.fixture(scope="module")
async def desk() -> AsyncIterator[RunningApp]:
    async with running_app() as running:
        yield running


@pytest.fixture
def run(desk: RunningApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs the command in a thread (it has a loop of its own) and gives what it says."""
    monkeypatch.setenv("DATABASE_URL", desk.database_url)
    monkeypatch.delenv("DESK_TOKEN_SECRET", raising=False)

    async def said(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["identity", *arguments])
        try:
            await asyncio.to_thread(command.main)
        except SystemExit as end:
            return f"{end.code}{capsys.readouterr().err}"
        return capsys.readouterr().out

    return said


async def import_nothing(desk: RunningApp) -> int:
    """Sign in anew, import no candle at all, and return the status."""
    form = {"grant_type": "password", "username": "ada", "password": PASSWORD}
    token = (await desk.client.post("/v1/tokens", data=form)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/csv"}
    return (await desk.client.post("/v1/candles", content=CANDLES, headers=headers)).status_code


async def test_an_operator_may_import_from_the_next_sign_in_on_until_it_is_revoked(
    desk: RunningApp, run: Run
) -> None:
    assert await run("show", "ada") == f"ada: {USUAL}\n"
    assert await import_nothing(desk) == 403
    assert await run("grant", "ada", "market:write") == f"ada: {EVERYTHING}\n"
    assert await import_nothing(desk) == 200
    assert await run("grant", "ada", "market:write") == f"ada: {EVERYTHING}\n"
    revoked = await run("revoke", "ada", "market:write")
    assert revoked.splitlines() == [
        f"ada: {USUAL}",
        "Tokens that were issued before keep their scopes for up to 15 minutes.",
    ]
    assert await import_nothing(desk) == 403
    assert (await run("revoke", "ada", *SCOPES)).splitlines()[0] == "ada: nothing"
    assert await run("grant", "ada", *SCOPES) == f"ada: {USUAL}\n"


async def test_a_name_that_nobody_has_is_a_sentence_and_an_error(run: Run) -> None:
    sentence = "identity: There is no user 'nobody'. Users are added with POST /v1/users."
    assert await run("grant", "nobody", "market:write") == sentence
    assert await run("show", "nobody") == sentence


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("grant", "ada", "market:wrote"), "no scope 'market:wrote': did you mean market:write?"),
        (("grant", "ada", "xyz"), "there is no scope 'xyz': there are accounts:read"),
        (("grant", "ada"), "the following arguments are required: SCOPE"),
        ((), "the following arguments are required: show|grant|revoke"),
    ],
)
async def test_a_mistake_is_explained_and_changes_nothing(
    run: Run, arguments: tuple[str, ...], words: str
) -> None:
    said = await run(*arguments)
    assert said.startswith("2")
    assert words in said
    assert await run("show", "ada") == f"ada: {USUAL}\n"


async def test_help_has_an_example_and_every_scope(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command._parser().parse_args(["--help"])
    text = capsys.readouterr().out
    assert "grant ada market:write" in text
    assert all(scope in text for scope in command.KNOWN)


async def test_of_two_commands_at_once_none_undoes_the_other(desk: RunningApp) -> None:
    """The second waits for the row: it must not write what it read before the first was done."""
    await desk.sign_in("grace")
    operators = OperatorService(desk.state["sessions"])
    await operators.revoke("grace", *SCOPES)
    async with asyncio.TaskGroup() as group:
        for scope in SCOPES:
            group.create_task(operators.grant("grace", scope))
    assert await operators.scopes("grace") == sorted(SCOPES)
