"""A process besides the web workers: settings, resources, and a clean end at SIGINT and SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable

from reference_app.infra.database.startup import StartupError, check_database
from reference_app.infra.process.resources import Resources, open_resources
from reference_app.settings import Settings, SettingsError, load_settings

Work = Callable[[Resources], Awaitable[None]]


def run_process(name: str, work: Work) -> None:
    """Run the work until it ends or a signal comes; then it is cancelled, and may finish what it cleans up.

    Args:
        name: It stands in messages, and in the database as application_name.
        work: Runs until it is cancelled.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = load_settings().model_copy(update={"database_application_name": f"desk-{name}"})
        asyncio.run(_until_signal(name, settings, work))
    except (SettingsError, StartupError) as error:
        sys.exit(f"{name}: {error}")


async def _until_signal(name: str, settings: Settings, work: Work) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    async with open_resources(settings) as resources:
        await check_database(resources["engine"], settings)
        logging.getLogger(name).info("started")
        running = asyncio.ensure_future(work(resources))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not running.done():
            running.cancel()
        try:
            await running  # raises what ended the work by itself
        except asyncio.CancelledError:
            logging.getLogger(name).info("stopped")
