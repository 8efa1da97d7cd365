"""Run by Alembic for each command, on the connection that `reference_app.infra.migrate` hands over."""

from alembic import context

import reference_app.accounts.models
import reference_app.identity.models
import reference_app.market.models
import reference_app.orders.models
import reference_app.portfolio.models
import reference_app.watchlists.models  # noqa: F401 - importing the models fills the metadata
from reference_app.infra.database import Base

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("Run migrations with reference_app.infra.migrate: it brings the connection.")

context.configure(connection=connection, target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
