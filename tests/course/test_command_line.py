"""One grammar for the command line: a noun, a verb, and for each command an example that can be copied."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from deskbook.cli import COMMANDS, main

CHECKOUT = Path(__file__).parents[2]

#: Every command, as the design lists them.
GRAMMAR = """
lab
serve
doctor
explore
services status|stop
notebook new|run|lint|mutate|repeat|edit|sync
exercise list|start|check|hint|solution|reset|verify|new
pattern list|show|copy|check|mended
course write
"""


def listed() -> set[str]:
    found = set()
    for line in GRAMMAR.split("\n"):
        noun, _, verbs = line.partition(" ")
        found |= {f"{noun} {verb}" for verb in verbs.split("|")} if verbs else {noun}
    return found - {""}


def commands(
    group: click.Group, context: click.Context, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that does something, and of every group."""
    yield path
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, click.Context(command, parent=context), (*path, name))
        else:
            yield (*path, name)


EVERY = sorted(commands(main, click.Context(main, **main.context_settings)))


def is_group(path: tuple[str, ...]) -> bool:
    return any(other[: len(path)] == path and other != path for other in EVERY)


def test_the_commands_are_those_of_the_grammar() -> None:
    assert {" ".join(path) for path in EVERY if not is_group(path)} == listed()


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_help_has_an_example_that_can_be_copied(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0, result.output
    [example] = re.findall(r"^ *Example: (.+)$", result.output, re.MULTILINE)
    words = shlex.split(example)
    assert tuple(words[: len(path) + 1]) == ("deskbook", *path)
    parse(words[1:])


def parse(words: list[str]) -> None:
    """Let click read a command line down to its last command, without running anything."""
    command: click.Command = main
    context = click.Context(main, **main.context_settings)
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, name
        command = found
        arguments = words if not isinstance(found, click.Group) else []
        context = command.make_context(name, arguments, parent=context, resilient_parsing=not arguments)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "exercises/README.md"])
def test_the_commands_of_a_written_page_exist(page: str) -> None:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```\w*$(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    lines = [line.partition("#")[0] for line in re.findall(r"^(?:\S*/)?deskbook (.+)$", blocks, re.MULTILINE)]
    lines += re.findall(r"`deskbook ([a-z]+ [^`]+)`", text)
    assert lines
    for line in lines:
        parse(shlex.split(line))


def test_the_overview_names_every_command_and_imports_none() -> None:
    """`deskbook --help` answers at once, and in a bare install."""
    output = CliRunner().invoke(main, ["--help"]).output
    assert re.findall(r"^  (\w+)  ", output.partition("Commands:")[2], re.MULTILINE) == list(COMMANDS)


def test_a_command_that_does_not_exist_gets_one_clear_sentence() -> None:
    result = CliRunner().invoke(main, ["lessons"])
    assert result.exit_code == 2
    assert "No such command 'lessons'" in result.output
