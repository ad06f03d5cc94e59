"""Run by alembic: the revisions go over the connection, and in the transaction, of whoever asked for them."""

from __future__ import annotations

from alembic import context

from sinks.migrations import REVISION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=REVISION_TABLE)
context.run_migrations()
