"""How far off a point's value may be."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    comment = "how far off the value may be, as a share of it; NULL where it is exact"
    op.add_column("points", Column("error", Double, comment=comment))
