"""Run by Alembic: migrates over the connection that ``byoc.store.schema`` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=False)
context.run_migrations()
