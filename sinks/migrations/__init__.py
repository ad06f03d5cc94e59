"""How a database of an earlier version becomes one of this: alembic's revisions, run by `sinks.prepared`.

A revision is a module in `versions`, named by its number, and is never changed once it was released. A new one comes
with the same change in `sinks.schema`, where SCHEMA_VERSION is the number of the last; a test compares the two.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from sqlalchemy.engine import Connection

REVISION_TABLE = "streamgauge_revision"
"""Alembic's own name for it would be that of everybody else who shares the database."""

# Alembic finds the migration that is under way in variables of its modules.
_one_at_a_time = threading.Lock()


def upgrade(connection: Connection) -> None:
    """Run the revisions that the database has not had, in the connection's transaction, which stays the caller's."""
    # It tells everybody of its plug-ins, and that of SQLite it knows no better than to expect half a migration.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Only here: a database is migrated once, and opened each day.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with _one_at_a_time:
        command.upgrade(config, "head")
