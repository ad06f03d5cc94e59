"""Every analysis of people that a catalog can declare. Adding one is a module beside this one and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from stream.people.base import Declaration

ANALYSES: Mapping[str, type[Declaration]] = {}
"""The catalog's tables, by their key: `[sessions]`, `[[funnel]]`."""
