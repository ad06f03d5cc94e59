"""Every analysis of people that a catalog can declare. Adding one is a module beside this one and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from stream.people.actives import Actives
from stream.people.base import Declaration
from stream.people.engagement import Engagement
from stream.people.features import Churn
from stream.people.funnel import Funnel
from stream.people.paths import Paths
from stream.people.retention import RetentionTable
from stream.people.sessions import Sessions

ANALYSES: Mapping[str, type[Declaration]] = {
    "sessions": Sessions,
    "actives": Actives,
    "retention": RetentionTable,
    "funnel": Funnel,
    "paths": Paths,
    "engagement": Engagement,
    "churn": Churn,
}
"""The catalog's tables, by their key: `[sessions]`, `[[funnel]]`. They run in this order: others know the sessions."""
