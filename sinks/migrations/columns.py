"""Types of columns that revisions have in common, as they were when the first of them was written."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, Text

# Sorted by code point in both databases, whatever collation the PostgreSQL cluster was made with.
KeyText = Text().with_variant(Text(collation="C"), "postgresql")
RowId = BigInteger().with_variant(Integer, "sqlite")
