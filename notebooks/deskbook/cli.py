"""The command `deskbook`.

Each command lives in the package that does its work and is imported when it is called:
`deskbook pattern list` must answer in a bare install, without Jupyter, FastAPI or a database driver.
"""

from __future__ import annotations

import importlib

import click

#: Command name -> (where its click command is, one line for the overview).
COMMANDS: dict[str, tuple[str, str]] = {
    "lab": ("deskbook.lab.commands:lab", "Start the services and JupyterLab on the start page."),
    "serve": ("deskbook.desk.commands:serve", "Run the reference app with its interactive docs."),
    "doctor": (
        "deskbook.doctor.commands:doctor",
        "Say whether lab and test would work, else what to do.",
    ),
    "explore": ("deskbook.races.commands:explore", "Look for a race in a service of your own."),
    "services": ("deskbook.services.commands:services", "Show or stop the PostgreSQL and Valkey servers."),
    "pattern": ("deskbook.patterns.commands:pattern", "List, show and copy single-file patterns."),
    "exercise": ("deskbook.practice.commands:exercise", "Start, check and solve exercises; verify them."),
    "notebook": (
        "deskbook.authoring.commands:notebook",
        "Make, run, lint, mutate, repeat, edit and sync notebooks.",
    ),
    "course": ("deskbook.course.commands:course", "Write the pages made from lessons and patterns."),
}

#: Extra that brings the packages of a command, for the message when they are missing.
EXTRA_HINT = "pip install 'fastapi-deskbook[course]'"


class LazyGroup(click.Group):
    """A click group that imports a subcommand when it is named, not when the program starts."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command; a missing optional package becomes one clear sentence."""
        if cmd_name not in COMMANDS:
            return None
        module_name, attribute = COMMANDS[cmd_name][0].split(":")
        try:
            command: click.Command = getattr(importlib.import_module(module_name), attribute)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] in {"deskbook", "reference_app"}:
                raise
            raise click.ClickException(
                f"`deskbook {cmd_name}` needs the package {error.name!r}, which is not installed here. "
                f"Install it with: {EXTRA_HINT}"
            ) from None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the table, so that --help imports nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},  # for every command below as well
    epilog="Example: deskbook lab",
)
@click.version_option(package_name="fastapi-deskbook")
def main() -> None:
    """Learn, teach and copy fast, correct FastAPI services."""
