"""What `[enrich]` gives, what of it a catalog asks for, and what is wrong with how it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from stream.expressions import FieldType
from stream.problems import Problem

if TYPE_CHECKING:
    from stream.catalog import Catalog
    from stream.intake import Enrich

IS_BOT = "is_bot"
_STRING = FieldType.STRING
GIVES: Mapping[str, Mapping[str, FieldType]] = MappingProxyType(
    {
        "user_agent": {"device": _STRING, "browser": _STRING, "os": _STRING, IS_BOT: FieldType.BOOLEAN},
        "ip": {"country": _STRING, "region": _STRING},
        "url": {"campaign": _STRING, "campaign_source": _STRING, "campaign_medium": _STRING, "channel": _STRING},
        "referrer": {"referrer_host": _STRING, "channel": _STRING},
    }
)
"""The fields that each key of `[enrich]` gives, with their types."""


@dataclass(frozen=True, slots=True)
class EnrichPlan:
    """Which fields are worked out, of which others, which are names of fields; None: not of that."""

    user_agent: str | None
    ip: str | None
    url: str | None
    referrer: str | None
    gives: frozenset[str]
    """Of those that could be given, the ones that somebody reads."""
    drops_bots: bool

    @property
    def reads(self) -> dict[str, FieldType]:
        """Fields that it needs of an event, and those of its own that an event may bring."""
        sources = (self.user_agent, self.ip, self.url, self.referrer)
        own = {IS_BOT: FieldType.BOOLEAN} if IS_BOT in self.gives else {}
        return dict.fromkeys((name for name in sources if name is not None), FieldType.STRING) | own


def given_by(enrich: Enrich) -> dict[str, FieldType]:
    """The fields that a catalog's `[enrich]` can give."""
    return {name: kind for key, gives in GIVES.items() if getattr(enrich, key) for name, kind in gives.items()}


def enrich_plan(catalog: Catalog) -> EnrichPlan | None:
    """None where nothing is to be worked out."""
    enrich, drops = catalog.enrich, catalog.enrich.user_agent is not None and catalog.enrich.bots == "drop"
    if all(getattr(enrich, key) is None for key in GIVES):
        return None
    # What nobody reads is not worked out.
    gives = given_by(enrich).keys() & {*catalog.field_types, *([IS_BOT] if drops else [])}
    return EnrichPlan(enrich.user_agent, enrich.ip, enrich.url, enrich.referrer, frozenset(gives), drops)


def check_enrich(catalog: Catalog, types: Mapping[str, FieldType], used_by: Mapping[str, str]) -> list[Problem]:
    """`types` are those of all fields that the rest of the catalog reads, `used_by` what reads them."""
    enrich, event = catalog.enrich, catalog.event
    given = given_by(enrich)
    problems: list[Problem] = []
    for key in GIVES:
        name = getattr(enrich, key)
        if name is None:
            continue
        if name == event.time:
            problems.append(Problem(f"enrich.{key}", "a field other than the event's time", repr(name)))
        if name in given:
            problems.append(Problem(f"enrich.{key}", "a field that is not given by [enrich] itself", repr(name)))
        if types.get(name, FieldType.STRING) is not FieldType.STRING:
            found = f"{name!r}, a {types[name]} because of {used_by.get(name, 'an analysis of people')}"
            problems.append(Problem(f"enrich.{key}", "a string field", found))
    for key in ("time", "person", "id", "name"):
        if (name := getattr(event, key)) in given:
            problems.append(Problem(f"event.{key}", "a field that [enrich] does not give", repr(name)))
    for name, kind in given.items():
        if types.get(name, kind) is not kind:
            problems.append(Problem(used_by.get(name, name), f"{name} as a {kind}, as [enrich] gives it", types[name]))
    if enrich.ip is not None and enrich.ip in types:
        key = used_by.get(enrich.ip, "an analysis of people")
        expected = "a field other than the address, which [enrich] reads and which is then dropped"
        problems.append(Problem(key, expected, repr(enrich.ip)))
    return problems
