"""Start the service: `python -m reference_app [--host 127.0.0.1] [--port 8000]`."""

from __future__ import annotations

import argparse
import asyncio
import sys

import uvicorn

from reference_app.app import create_app
from reference_app.infra.database import create_engine
from reference_app.infra.startup import StartupError, check_database
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
    parser = argparse.ArgumentParser(prog="python -m reference_app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    try:
        settings = load_settings()
        asyncio.run(preflight(settings))
    except (SettingsError, StartupError) as error:
        sys.exit(f"reference_app: {error}")
    if settings.redis_url is None:
        sys.stderr.write("reference_app: REDIS_URL is not set: workers cache alone, nobody is limited.\n")
    uvicorn.run(create_app(settings), host=arguments.host, port=arguments.port, timeout_graceful_shutdown=10)


if __name__ == "__main__":
    main()
