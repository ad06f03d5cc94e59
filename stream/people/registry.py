"""Every analysis of people that a catalog can declare. Adding one is a module beside this one and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from stream.people.base import Declaration
from stream.people.retention import RetentionTable
from stream.people.sessions import Sessions

ANALYSES: Mapping[str, type[Declaration]] = {
    "sessions": Sessions,
    "retention": RetentionTable,
}
"""The catalog's tables, by their key: `[sessions]`, `[[funnel]]`. They run in this order: others know the sessions."""
