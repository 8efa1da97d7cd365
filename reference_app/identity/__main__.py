"""Say what a user may: `python -m reference_app.identity show|grant|revoke NAME [SCOPE ...]`.

For example, to let the user ada import candles:

    python -m reference_app.identity grant ada market:write

There is no route for this on purpose: who may run commands beside the database is an operator already.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import sys

from reference_app.identity.service import OperatorService, UnknownUser
from reference_app.infra.database.engine import create_engine, create_sessions
from reference_app.infra.database.startup import StartupError, check_database
from reference_app.nouns import OPERATOR_SCOPES, SCOPES
from reference_app.settings import Settings, SettingsError, load_settings

KNOWN = {**SCOPES, **OPERATOR_SCOPES}


async def change(settings: Settings, verb: str, name: str, scopes: list[str]) -> list[str]:
    """Do what the command says, and return what the user may then."""
    engine = create_engine(settings)
    try:
        await check_database(engine, settings)
        operators = OperatorService(create_sessions(engine))
        if verb == "grant":
            return await operators.grant(name, *scopes)
        if verb == "revoke":
            return await operators.revoke(name, *scopes)
        return await operators.scopes(name)
    finally:
        await engine.dispose()


def main() -> None:
    """Change the scopes of a user in the database that DATABASE_URL names, and print them."""
    arguments = _parser().parse_args()
    try:
        settings = load_settings()
        scopes = asyncio.run(
            change(settings, arguments.verb, arguments.name, getattr(arguments, "scopes", []))
        )
    except UnknownUser:
        sys.exit(f"identity: There is no user {arguments.name!r}. Users are added with POST /v1/users.")
    except (SettingsError, StartupError) as error:
        sys.exit(f"identity: {error}")
    sys.stdout.write(f"{arguments.name}: {' '.join(scopes) or 'nothing'}\n")
    if arguments.verb == "revoke":
        ttl_min = settings.token_ttl_s / 60
        sys.stdout.write(f"Tokens that were issued before keep their scopes for up to {ttl_min:g} minutes.\n")


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {scope:18}{what}" for scope, what in KNOWN.items())
    parser = argparse.ArgumentParser(
        prog="python -m reference_app.identity",
        description=__doc__,
        epilog=f"scopes:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="show|grant|revoke")
    for verb, what in (
        ("show", "print what a user may"),
        ("grant", "let a user do more, from the next sign-in on"),
        ("revoke", "let a user do less"),
    ):
        one = verbs.add_parser(verb, help=what, description=f"{what[0].upper()}{what[1:]}.")
        one.add_argument("name", help="of the user, such as ada")
        if verb != "show":
            one.add_argument("scopes", nargs="+", type=_scope, metavar="SCOPE", help="such as market:write")
    return parser


def _scope(text: str) -> str:
    if text not in KNOWN:
        near = difflib.get_close_matches(text, KNOWN, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(KNOWN))}."
        raise argparse.ArgumentTypeError(f"there is no scope {text!r}: {hint}")
    return text


if __name__ == "__main__":
    main()
