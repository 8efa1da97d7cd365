"""Start the service: `python -m reference_app [--host 127.0.0.1] [--port 8000] [--workers 1]`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import uvicorn

from reference_app.app import create_app
from reference_app.infra.database.engine import create_engine
from reference_app.infra.database.startup import StartupError, check_database
from reference_app.infra.http.bounded_protocol import BoundedProtocol
from reference_app.infra.watch.metrics import FOLDER
from reference_app.processes import PROCESSES
from reference_app.settings import Settings, SettingsError, load_settings, token_secret


async def preflight(settings: Settings) -> None:
    """Find what would stop the start before the server reports it as a traceback."""
    token_secret(settings)
    engine = create_engine(settings)
    try:
        await check_database(engine, settings)
    finally:
        await engine.dispose()


def main() -> None:
    """Check the settings and the database, then serve until SIGINT or SIGTERM."""
    others = "\n".join(f"  {name:12}python -m {module}" for name, module in PROCESSES.items())
    parser = argparse.ArgumentParser(
        prog="python -m reference_app",
        description=__doc__,
        epilog=f"These run beside it:\n{others}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=_workers, default=1, metavar="1 to 64")
    arguments = parser.parse_args()
    try:
        settings = load_settings()
        asyncio.run(preflight(settings))
    except (SettingsError, StartupError) as error:
        sys.exit(f"reference_app: {error}")
    if settings.redis_url is None:
        sys.stderr.write("reference_app: REDIS_URL is not set: workers cache alone, nobody is limited.\n")
    if not os.environ.get(FOLDER):
        sys.stderr.write(f"reference_app: {FOLDER} is not set: nobody is told what is measured.\n")
    options = {
        "host": arguments.host,
        "port": arguments.port,
        "http": BoundedProtocol,
        "timeout_keep_alive": settings.keep_alive_s,
        "timeout_graceful_shutdown": 10,
    }
    if arguments.workers == 1:
        uvicorn.run(create_app(settings), **options)
        return
    uvicorn.run("reference_app.app:create_app", factory=True, workers=arguments.workers, **options)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 64):
        raise argparse.ArgumentTypeError("expected a number of processes, 1 to 64")
    return int(text)


if __name__ == "__main__":
    main()
