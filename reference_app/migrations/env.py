"""Run by Alembic for each command, on the connection that `infra/database/schema.py` hands over."""

from alembic import context

import reference_app.infra.database.pattern_tables  # noqa: F401 - it fills the metadata, as the models do
from reference_app.infra.database.base import Base
from reference_app.nouns import import_models

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("Run migrations with python -m reference_app.infra.migrate: it brings the connection.")

import_models()
context.configure(connection=connection, target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
