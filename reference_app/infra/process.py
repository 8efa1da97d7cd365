"""A process besides the web workers: settings, database, and a clean end at SIGINT and SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from reference_app.infra.database import create_engine
from reference_app.infra.startup import StartupError, check_database
from reference_app.settings import Settings, SettingsError, load_settings

Work = Callable[[Settings, AsyncEngine], Awaitable[None]]


def run_process(name: str, work: Work) -> None:
    """Run the work until it ends or a signal comes; then it is cancelled, and may finish what it cleans up.

    Args:
        name: In messages, and as application_name in the database.
        work: Runs until it is cancelled.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = load_settings().model_copy(update={"database_application_name": f"desk-{name}"})
        asyncio.run(_until_signal(name, settings, work))
    except (SettingsError, StartupError) as error:
        sys.exit(f"{name}: {error}")


async def _until_signal(name: str, settings: Settings, work: Work) -> None:
    engine = create_engine(settings)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    try:
        await check_database(engine, settings)
        logging.getLogger(name).info("started")
        running = asyncio.ensure_future(work(settings, engine))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not running.done():
            running.cancel()
        try:
            await running  # raises what ended the work by itself
        except asyncio.CancelledError:
            logging.getLogger(name).info("stopped")
    finally:
        await engine.dispose()
