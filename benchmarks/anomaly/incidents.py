"""Whether the rules of the demo find what goes wrong in it, and keep quiet when nothing does.

`incidents` takes some minutes for each seed: simulated weeks of some twelve million events each, through the rules of
`catalogs/food_sharing.toml` as they are shipped. `make bench-incidents` writes `benchmarks/results/incidents.json`.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.anomaly.closed import HOUR_MS, ClosedWindows, Watched
from sinks.alert_records import Alert
from sinks.records import iso
from stream.catalog import Catalog, load
from streamgauge.demo.food_sharing import FoodSharing
from streamgauge.demo.incidents import LIVE, WEEKLY, Incident, Kind, Occurrence
from streamgauge.demo.rows import CLAIM
from streamgauge.places import find_catalog

DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
MONDAY_MS = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
SEEDS = (1, 2, 3)
LIVE_RATE, WEEKLY_RATE = 100, 20
"""Events a second: of the demo by default, and of weeks of which there are to be many."""
LEARNING_WEEKS, QUIET_WEEKS, STIRRED_WEEKS = 2, 1, 2
WITHIN = 3
"""Windows of its rule, after an incident begins, in which an alert is to open."""
AFTER_MS = 1_800_000
"""How long after an incident an alert may still be about it: three windows of ten minutes end so much later."""
SENSIBLE = {
    Kind.SLOW_API: ("api_slow", "endpoint_slow", "response_time", "latency_novel"),
    Kind.ERRORS: ("api_failing", "api_errors_novel"),
    Kind.CLAIMS_OUTAGE: ("claims_failing", "claims_novel"),
    Kind.BOTS: ("crawler", "page_views_novel"),
    Kind.VIRAL_POST: ("talk_of_the_town", "messages_novel"),
}
"""The rules whose alert tells somebody what is wrong. Others may have something to say as well."""


RESULTS = Path(__file__).parents[1] / "results" / "incidents.json"
_console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one incident."""

    occurrence: Occurrence
    windows: int | None
    """Windows of the rule that ended from its beginning until an alert opened, the least of the rules; 0 where one was
    still open from the incident before, None where none opened."""
    rule: str | None = None
    delay_s: float | None = None
    """From its beginning to the end of the window that opened the first alert."""

    @property
    def in_time(self) -> bool:
        return self.windows is not None and self.windows <= WITHIN


@dataclass(frozen=True, slots=True)
class Quiet:
    """What was said though nothing was wrong."""

    alerts: tuple[Alert, ...]
    series: int
    """That were watched, counted once for each rule."""

    @property
    def per_20_series(self) -> float:
        return 20 * len(self.alerts) / self.series


class Episodes:
    """The alerts of a span, as they open and end."""

    def __init__(self, catalog: Catalog, start_ms: int) -> None:
        self._closed = ClosedWindows(catalog, start_ms)
        self._watched = Watched(catalog)
        self._now_ms = start_ms
        self._steps_ms: dict[str, int] = {watch.life.rule: watch.grain_ms for watch in self._watched.watches}
        self.alerts: dict[str, Alert] = {}

    @property
    def series(self) -> int:
        return sum(map(len, self._watched.series.values()))

    def go_on(self, simulator: FoodSharing, end_ms: int) -> None:
        """A day at a time, over what the simulator has to say of it."""
        while self._now_ms < end_ms:
            to_ms = min(self._now_ms + DAY_MS, end_ms)
            points = self._closed.to(to_ms, simulator)
            for outcome in self._watched.through(points, self._now_ms, to_ms):
                self.alerts.update({alert.id: alert for alert in outcome.alerts})
            self._now_ms = to_ms

    def opened(self, start_ms: int, end_ms: int) -> list[Alert]:
        """Those that opened in `start_ms` < t ≤ `end_ms`, in that order."""
        found = [alert for alert in self.alerts.values() if start_ms < alert.opened_ms <= end_ms]
        return sorted(found, key=lambda alert: (alert.opened_ms, alert.rule, alert.dimensions))

    def found(self, occurrence: Occurrence) -> Found:
        """What was said of an incident."""
        incident, start_ms = occurrence.incident, occurrence.start_ms
        about = [alert for alert in self.alerts.values() if _is_about(alert, incident)]
        opened = [alert for alert in about if start_ms < alert.opened_ms <= occurrence.end_ms + AFTER_MS]
        still = any(alert.opened_ms <= start_ms < (alert.resolved_ms or self._now_ms) for alert in about)
        if not opened:
            return Found(occurrence, 0 if still else None)
        best = min(opened, key=lambda alert: (self._windows(alert, start_ms), alert.opened_ms))
        if still and self._windows(best, start_ms) > WITHIN:
            # It opened for the next one of the kind; this one is part of that before.
            return Found(occurrence, 0)
        first_ms = min(alert.opened_ms for alert in opened)
        return Found(occurrence, self._windows(best, start_ms), best.rule, (first_ms - start_ms) / 1_000)

    def _windows(self, alert: Alert, start_ms: int) -> int:
        step_ms: int = self._steps_ms[alert.rule]
        return alert.opened_ms // step_ms - start_ms // step_ms


def _is_about(alert: Alert, incident: Incident) -> bool:
    where = dict(alert.dimensions).get("community")
    return alert.rule in SENSIBLE[incident.kind] and where in (None, incident.community)


def live(seed: int, *, hours: int = 24, from_hour: int = 0) -> list[Found]:
    """The incidents of the demo as it is shown, from its first minute on: nothing has been learned."""
    start_ms = MONDAY_MS + from_hour * HOUR_MS
    end_ms = start_ms + hours * HOUR_MS
    simulator = FoodSharing(seed, LIVE_RATE, incidents=LIVE)
    episodes = Episodes(shipped(), start_ms)
    episodes.go_on(simulator, end_ms)
    return [episodes.found(one) for one in _whole(simulator, start_ms, end_ms)]


def weekly(seed: int) -> tuple[Quiet, list[Found]]:
    """Weeks to learn, a quiet week, and weeks in which things go wrong."""
    # Each seed has weeks of its own, in which things go wrong at other hours.
    start_ms = MONDAY_MS + 10 * seed * WEEK_MS
    learned_ms = start_ms + LEARNING_WEEKS * WEEK_MS
    quiet_ms = learned_ms + QUIET_WEEKS * WEEK_MS
    end_ms = quiet_ms + STIRRED_WEEKS * WEEK_MS
    episodes = Episodes(shipped(), start_ms)
    episodes.go_on(FoodSharing(seed, WEEKLY_RATE, incidents=()), quiet_ms)
    quiet = Quiet(tuple(episodes.opened(learned_ms, quiet_ms)), episodes.series)
    stirred = FoodSharing(seed, WEEKLY_RATE, incidents=WEEKLY)
    episodes.go_on(stirred, end_ms)
    return quiet, [episodes.found(one) for one in _whole(stirred, quiet_ms, end_ms)]


def _whole(simulator: FoodSharing, start_ms: int, end_ms: int) -> Iterator[Occurrence]:
    for occurrence in simulator.incidents_between(start_ms, end_ms):
        if occurrence.start_ms >= start_ms and occurrence.end_ms + AFTER_MS <= end_ms:
            yield occurrence


def claims_lost(found: Found, seed: int, rate: float) -> int:
    """How many claims an outage swallowed: there is nothing to be seen of one without any."""
    span = found.occurrence.start_ms, found.occurrence.end_ms
    worlds = (FoodSharing(seed, rate, incidents=declared) for declared in ((), (found.occurrence.incident,)))
    made, kept = (int((world.rows_between(*span)["kind"] == CLAIM).sum()) for world in worlds)
    return made - kept


def shipped() -> Catalog:
    return load(find_catalog("food_sharing"))


def incidents(seeds: Sequence[int] = SEEDS, say: Callable[[object], None] = _console.print) -> dict[str, Any]:
    """The figures, and tables of what they are made of to `say`. Shares are of all occurrences of all seeds.

    `live_found`, `weekly_found`: share of incidents of which a sensible rule told within three of its windows; by the
    name of the incident in `live` and `weekly`. `false_per_20_series`: episodes of a quiet week.
    """
    lively: list[tuple[int, Found]] = []
    stirred: list[tuple[int, Found]] = []
    quiet: list[Quiet] = []
    for seed in seeds:
        lively += [(seed, one) for one in live(seed)]
        calm, found = weekly(seed)
        quiet.append(calm)
        stirred += [(seed, one) for one in found]
    say(_table(f"as the demo shows them, {LIVE_RATE} events/s, from the first minute on", lively))
    say(_table(f"each once a week, {WEEKLY_RATE} events/s, after {LEARNING_WEEKS + QUIET_WEEKS} weeks", stirred))
    for rate, pairs in ((LIVE_RATE, lively), (WEEKLY_RATE, stirred)):
        for seed, one in pairs:
            if not one.in_time:
                say(_missed(one, seed, rate))
    for seed, calm in zip(seeds, quiet, strict=True):
        rules = ", ".join(f"{name} {count}" for name, count in Counter(one.rule for one in calm.alerts).most_common())
        say(f"quiet week of seed {seed}: {len(calm.alerts)} false episodes of {calm.series} series; {rules or 'none'}")
    return {
        "live_found": _share(one for _, one in lively),
        "live": {name: _share(some) for name, some in _by_name(lively).items()},
        "weekly_found": _share(one for _, one in stirred),
        "weekly": {name: _share(some) for name, some in _by_name(stirred).items()},
        "false_per_20_series": round(20 * sum(len(one.alerts) for one in quiet) / sum(one.series for one in quiet), 2),
    }


def _share(found: Iterable[Found]) -> float:
    all_found = list(found)
    return round(sum(one.in_time for one in all_found) / len(all_found), 3)


def _by_name(pairs: Iterable[tuple[int, Found]]) -> dict[str, list[Found]]:
    result: dict[str, list[Found]] = {}
    for _, one in pairs:
        result.setdefault(one.occurrence.incident.name, []).append(one)
    return dict(sorted(result.items()))


def _table(title: str, pairs: Sequence[tuple[int, Found]]) -> Table:
    table = Table("incident", title=f"Alerts after incidents {title}")
    heads = ("times", "still open", *(f"window {n}" for n in range(1, WITHIN + 1)), "later", "never", "median delay")
    for head in heads:
        table.add_column(head, justify="right")
    for name, some in _by_name(pairs).items():
        windows = Counter(min(one.windows, WITHIN + 1) for one in some if one.windows is not None)
        delays = sorted(one.delay_s for one in some if one.delay_s is not None)
        never = sum(one.windows is None for one in some)
        cells = [len(some), *(windows[n] for n in range(WITHIN + 2)), never]
        table.add_row(name, *map(str, cells), f"{delays[len(delays) // 2]:.0f} s" if delays else "")
    return table


def _missed(one: Found, seed: int, rate: float) -> str:
    incident = one.occurrence.incident
    when = f"{incident.name} of {iso(one.occurrence.start_ms)}, seed {seed}, {rate} events/s"
    lost = f"; {claims_lost(one, seed, rate)} claims were lost" if incident.kind is Kind.CLAIMS_OUTAGE else ""
    return f"{when}: {'no alert' if one.windows is None else f'window {one.windows}'}{lost}"


def main() -> None:
    seeds = [int(text) for text in sys.argv[1:]] or SEEDS
    figures = {"seeds": list(seeds), **incidents(seeds)}
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    Console().print(figures)


if __name__ == "__main__":
    main()
