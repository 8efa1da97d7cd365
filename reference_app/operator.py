"""See and restart what hangs: `python -m reference_app.operator orders list|restart [ID ...]`.

For example, to have the matchers look at once at every order whose job has failed again and again:

    python -m reference_app.operator orders restart

There is no route for this on purpose: who may run commands beside the database is an operator already.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from reference_app.infra.database.engine import create_engine, create_sessions
from reference_app.infra.database.startup import StartupError, check_database
from reference_app.orders.service import HangingOrder, OperatorService
from reference_app.settings import Settings, SettingsError, load_settings

MAX_ORDER_ID = 2**63 - 1


async def orders(settings: Settings, verb: str, order_ids: Sequence[int]) -> str:
    """Do what the command says about orders, and return what it prints."""
    engine = create_engine(settings)
    try:
        await check_database(engine, settings)
        operator = OperatorService(create_sessions(engine))
        hanging = await operator.hanging()
        if verb == "list":
            lines = [_line(order) for order in hanging]
            return "\n".join(lines or ["No order hangs."])
        wanted = list(order_ids) or [order.id for order in hanging]
        restarted = await operator.restart(wanted)
        left = sorted(set(wanted) - set(restarted))
        said = f"Restarted: {' '.join(map(str, restarted)) or 'none'}."
        if left:
            said += f" Left alone, since they are final, unknown or being tried: {' '.join(map(str, left))}."
        return said
    finally:
        await engine.dispose()


def _line(order: HangingOrder) -> str:
    what = f"order {order.id}  {order.symbol}  {order.state}  placed {order.placed_at:%Y-%m-%d %H:%M:%S}"
    if order.tries is None:
        return f"{what}  has no job"
    return f"{what}  tried {order.tries} times, next at {order.next_try_at:%H:%M:%S}"


def main() -> None:
    """Show or restart what hangs in the database that DATABASE_URL names."""
    arguments = _parser().parse_args()
    try:
        said = asyncio.run(orders(load_settings(), arguments.verb, getattr(arguments, "order_ids", [])))
    except (SettingsError, StartupError) as error:
        sys.exit(f"operator: {error}")
    sys.stdout.write(f"{said}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reference_app.operator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    nouns = parser.add_subparsers(dest="noun", required=True, metavar="orders")
    about = nouns.add_parser("orders", help="orders that were accepted and that no matcher gets on with")
    verbs = about.add_subparsers(dest="verb", required=True, metavar="list|restart")
    verbs.add_parser("list", help="print active orders whose job has failed five times, or that have none")
    restart = verbs.add_parser("restart", help="have the matchers look at them now")
    restart.add_argument(
        "order_ids", nargs="*", type=_order_id, metavar="ID", help="numbers of orders; none: all that hang"
    )
    return parser


def _order_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_ORDER_ID):
        raise argparse.ArgumentTypeError("expected the number of an order, such as 7")
    return int(text)


if __name__ == "__main__":
    main()
