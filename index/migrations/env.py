"""Alembic runs a migration on the connection that `upgrade` hands over."""

from alembic import context

from twinjet.index.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # The caller's transaction holds the lock: all migrations are one change.
    transaction_per_migration=False,
)
context.run_migrations()
