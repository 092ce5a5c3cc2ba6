"""Run the revisions on the connection, and in the transaction, that db.engine.upgrade opened."""

from alembic import context

from db.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata)
context.run_migrations()
