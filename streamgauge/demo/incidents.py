"""What goes wrong, and when: incidents are declared, recur, and can be compared with what is detected."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    SLOW_API = "slow_api"  # severity: API calls take this many times as long
    ERRORS = "errors"  # severity: share of API calls that fail with a 5xx
    CLAIMS_OUTAGE = "claims_outage"  # severity: share of the community's claims that is lost
    BOTS = "bots"  # severity: page views become this many times as many
    VIRAL_POST = "viral_post"  # severity: messages become this many times as many


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident that recurs: once in each period of `every_s`, at a time that looks random and is not.

    Raises `ValueError` when the length does not fit into the period, or the severity is none.
    """

    name: str
    kind: Kind
    every_s: int
    length_s: int
    severity: float
    community: str | None = None  # where claims fail, or whose post it is; None: everywhere

    def __post_init__(self) -> None:
        if not 0 < self.length_s <= self.every_s:
            expected = f"length_s must be in 1..{self.every_s} (every_s)"
            raise ValueError(f"incident {self.name!r}: {expected}, got {self.length_s}")
        shares = self.kind in (Kind.ERRORS, Kind.CLAIMS_OUTAGE)
        if not (0 < self.severity <= 1 if shares else self.severity > 1):
            expected = "a share, 0 < severity ≤ 1" if shares else "a multiple, severity > 1"
            raise ValueError(f"incident {self.name!r}: {self.kind} takes {expected}, got {self.severity}")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time that an incident happens: from `start_ms` (epoch) up to but not including `end_ms`."""

    incident: Incident
    start_ms: int
    end_ms: int


# For somebody who watches: something happens every ten minutes or so, and is over in a few.
LIVE = (
    Incident("slow_api", Kind.SLOW_API, every_s=2400, length_s=180, severity=6),
    Incident("error_burst", Kind.ERRORS, every_s=2400, length_s=120, severity=0.3),
    Incident("claims_outage", Kind.CLAIMS_OUTAGE, 2400, length_s=240, severity=1, community="Riverside"),
    Incident("bot_spike", Kind.BOTS, every_s=1800, length_s=120, severity=5),
    Incident("viral_post", Kind.VIRAL_POST, 1800, length_s=240, severity=3, community="Old Town"),
)

# For simulated weeks: each once a week, long enough to matter to whoever is on call.
WEEK_S = 604_800
WEEKLY = (
    Incident("slow_api", Kind.SLOW_API, WEEK_S, length_s=2700, severity=4),
    Incident("error_burst", Kind.ERRORS, WEEK_S, length_s=1200, severity=0.25),
    Incident("claims_outage", Kind.CLAIMS_OUTAGE, WEEK_S, length_s=7200, severity=1, community="Riverside"),
    Incident("bot_spike", Kind.BOTS, WEEK_S, length_s=1800, severity=4),
    Incident("viral_post", Kind.VIRAL_POST, WEEK_S, length_s=3600, severity=3, community="Old Town"),
)


def occurrences(incidents: Iterable[Incident], start_ms: int, end_ms: int) -> list[Occurrence]:
    """What happens at least in part in `start_ms` ≤ t < `end_ms`, in the order in which it starts."""
    found = []
    for incident in incidents:
        every_ms = incident.every_s * 1000
        for turn in range(start_ms // every_ms, (end_ms - 1) // every_ms + 1):
            # Not at the same minute of each hour: a detector would learn that as a season.
            slack_s = incident.every_s - incident.length_s
            late_s = zlib.crc32(f"{incident.name}/{turn}".encode()) % (slack_s + 1)
            begins_ms = turn * every_ms + late_s * 1000
            ends_ms = begins_ms + incident.length_s * 1000
            if begins_ms < end_ms and ends_ms > start_ms:
                found.append(Occurrence(incident, begins_ms, ends_ms))
    return sorted(found, key=lambda it: (it.start_ms, it.incident.name))
