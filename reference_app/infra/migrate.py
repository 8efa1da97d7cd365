"""The command `python -m reference_app.infra.migrate`: bring the database to the newest schema.

The work is done by `infra/database/schema.py`. The command stands here because this is the name by which
operators' scripts call it.
"""

from __future__ import annotations

import asyncio
import sys

from reference_app.infra.database.schema import upgrade_async
from reference_app.infra.database.startup import StartupError
from reference_app.settings import SettingsError, load_settings


def main() -> None:
    """Migrate the database that DATABASE_URL names."""
    try:
        asyncio.run(upgrade_async(load_settings().database_url.get_secret_value()))
    except (SettingsError, StartupError) as error:
        sys.exit(f"migrate: {error}")


if __name__ == "__main__":
    main()
