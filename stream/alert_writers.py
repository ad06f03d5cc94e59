"""Where alerts and scores go, and in which order. No engine here; see `stream.writers`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sinks.alert_records import Alert, Scored
from sinks.alert_store import KEEP_SCORES_MS, AlertStore
from sinks.live import LiveSink
from sinks.outbox import Outbox
from stream.alerts import Outcome, ScoredBatch
from stream.clock import END_MS
from stream.meters import Meters
from stream.writers import Clock, Patience

if TYPE_CHECKING:
    from stream.influx_writer import InfluxWriter  # half a second, for those who have none

_PRUNE_EVERY_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class AlertSinks:
    """Everything that is told of alerts."""

    store: AlertStore
    outbox: Outbox
    live: LiveSink
    influx: InfluxWriter | None = None


def alert_writer(
    sinks: AlertSinks,
    lasting: Patience,
    passing: Patience,
    clock: Clock,
    meters: Meters,
) -> Callable[[list[Outcome]], None]:
    """First the store, so that who hears of an alert can ask about it; then the outbox, screens and InfluxDB.

    `lasting` is the patience with databases, which ends the run when it is spent; `passing` that with Valkey, and with
    a spool that is full.
    """

    def write(outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            _write(outcome, clock())

    def _write(outcome: Outcome, now_ms: int) -> None:
        watch, told = outcome.watch, _told(outcome)
        if outcome.alerts or outcome.silences or watch:
            lasting(
                lambda: sinks.store.write(outcome.alerts, silences=outcome.silences, watch=watch, at_ms=now_ms),
            )
        if outcome.notifications:
            passing(lambda: sinks.outbox.write(outcome.notifications))
            meters.notified(len(outcome.notifications))
        if told is not None or watch is not None:
            passing(lambda: sinks.live.write((), {}, now_ms=now_ms, alerts=told, watch=watch))
        if outcome.open is not None:
            meters.alerts_open(len(outcome.open))
        if sinks.influx is not None and outcome.moved:
            influx = sinks.influx
            passing(lambda: influx.write_alerts(outcome.moved))

    return write


def score_writer(store: AlertStore, patience: Patience, meters: Meters) -> Callable[[list[ScoredBatch]], None]:
    """What rules made of each window, for charts. Kept for a fortnight of event time."""
    pruned_ms: int | None = None

    def prune() -> None:
        store.prune((pruned_ms or 0) - KEEP_SCORES_MS)

    def write(batches: list[ScoredBatch]) -> None:
        nonlocal pruned_ms
        scored: list[Scored] = [row for batch in batches for _, row in batch.rows]
        if not scored:
            return
        patience(lambda: store.write(scored=scored))
        meters.scored(len(scored))
        watermark_ms = max(batch.watermark_ms for batch in batches)
        if watermark_ms >= END_MS:
            return
        if pruned_ms is None:
            pruned_ms = watermark_ms
        elif watermark_ms - pruned_ms >= _PRUNE_EVERY_MS:
            pruned_ms = watermark_ms
            patience(prune)

    return write


def _told(outcome: Outcome) -> list[Alert] | None:
    """What screens are to know: every open alert when it is time, and what changed in any case."""
    if outcome.open is None:
        return outcome.alerts or None
    known = {alert.id: alert for alert in [*outcome.open, *outcome.alerts]}
    return list(known.values())
