"""The short constant name of everything that is logged, and what its parts are.

Packages say things with the standard library, as sentences for people. A machine wants a name that stays when a
sentence is improved, and the parts by themselves: that is here, one row for each sentence, so that no package knows how
logs are written. A sentence that only passes another's words on (`"%s"`) says its name itself, by `extra={"event": …}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OWN = ("streamgauge", "live_api", "stream", "sinks", "models")


@dataclass(frozen=True, slots=True)
class Named:
    event: str
    fields: tuple[str, ...] = ()
    """What the placeholders of the sentence are, in their order."""

    def said(self, values: object) -> dict[str, Any]:
        """The fields of one record, by the values it was logged with."""
        given = values if isinstance(values, tuple) else (values,)
        return dict(zip(self.fields, given, strict=False))


def _named(event: str, *fields: str) -> Named:
    return Named(event, fields)


NAMES: Mapping[str, Named] = {
    # Processes and settings
    "%s is no setting%s": _named("unknown_setting", "variable", "hint"),
    "%s ended with status %d; starting it again": _named("part_restarted", "part", "status"),
    "%s cannot run as it is set up; see its message above": _named("part_misconfigured", "part"),
    "%s did not stop in %.0f s and was killed": _named("part_killed", "part", "within_s"),
    "VALKEY_URL is set: using that server, starting none": _named("no_server_started"),
    "INSECURE: EVERYBODY WHO REACHES %s:%d MAY DO WHAT THE ROLE %s MAY, WITHOUT A KEY": _named(
        "insecure_api", "host", "port", "role_of_nobody"
    ),
    "INSECURE: PAGES OF %s, AND WHOEVER A PROXY THERE LETS THROUGH, READ ALL NUMBERS WITHOUT A KEY": _named(
        "insecure_proxy", "origins"
    ),
    "INSECURE: WHO READS ALONG ON THE WAY TO %s CAN LOG IN AS ANYBODY": _named("insecure_issuer", "issuer"),
    "the audit log lacks that %s %s %s: %s": _named("audit_not_written", "who", "action", "subject", "error"),
    "when key %s was last used is not noted: %s": _named("key_use_not_noted", "key", "error"),
    "a ticket cannot be looked up: %s": _named("ticket_not_looked_up", "error"),
    "INSECURE: STREAMGAUGE_ORIGINS=* LETS ANY PAGE THAT IS OPEN IN A BROWSER READ ALL NUMBERS": _named(
        "insecure_origins"
    ),
    "INSECURE: EVERYBODY WHO REACHES %s:%d CAN READ THE %s'S METRICS": _named(
        "insecure_metrics", "host", "port", "part"
    ),
    "INSECURE: WHOEVER REACHES %s CAN RUN CODE IN IT; LET ONLY THE MEMBERS IN": _named("insecure_cluster", "address"),
    "INSECURE: WEBHOOK %s IS REACHED WITHOUT ENCRYPTION": _named("insecure_webhook_http", "endpoint"),
    "INSECURE: WHAT WEBHOOK %s IS SENT IS NOT SIGNED; set secret_env": _named("insecure_webhook_unsigned", "endpoint"),
    "STREAMGAUGE_MAX_CLIENTS is %d, but this process may open %d files at most; raise its limit (ulimit -n)": _named(
        "file_limit_low", "clients", "files"
    ),
    "own metrics: http://%s:%d/metrics": _named("metrics_served", "host", "port"),
    "%s. Going on without": _named("metrics_not_served", "why"),
    "%s was not answered": _named("scrape_unanswered", "client"),
    # A cluster
    "%d streams over %d processes: %d of them read nothing and only count": _named(
        "members_without_stream", "streams", "processes", "idle"
    ),
    "%d shards over %d processes: %d of them count nothing": _named(
        "members_without_shard", "shards", "processes", "idle"
    ),
    "%s; starting all again in %.1f s": _named("cluster_restarted", "why", "wait_s"),
    "%s: it goes on from the last snapshot, and nothing is lost": _named("cluster_ended", "why"),
    "a member was told to end, and with it the cluster": _named("member_told_to_end"),
    "the members could not meet: %s": _named("members_apart", "error"),
    "member %d was refused: %s": _named("member_refused", "refused", "why"),
    "waiting for member %s of the cluster to come to %s": _named("waiting_for_members", "missing", "address"),
    "waiting for member 0 of the cluster at %s: %s": _named("waiting_for_first_member", "address", "error"),
    "the members met, but their engines have not found each other in %.0f s": _named("engines_apart", "within_s"),
    "another member is gone, so the cluster ends; it goes on from the last snapshot (%s)": _named(
        "member_gone", "error"
    ),
    "another member left first; what was not saved is read again at the next start": _named("member_left_first"),
    # The processor and its streams
    "ending at the last snapshot: %s": _named("processor_failed", "error"),
    "the last snapshot took longer than %.0f s; leaving without it": _named("drain_cut_off", "within_s"),
    "%s. STREAMGAUGE_ON_GAP is `error`, so nothing is read past that. Start once with STREAMGAUGE_ON_GAP=earliest to go"
    " on with the first entry that is there, or =latest to skip to the end": _named("gap_refused", "gap"),
    "%s; skipping to its end, %s": _named("gap_skipped", "gap", "entry"),
    "%s is not a stream; waiting until it is one": _named("not_a_stream", "stream"),
    "reading %s failed, trying again in %.1f s: %s": _named("read_failed", "stream", "wait_s", "error"),
    "%s: group %s does not show the lag: %s": _named("lag_not_shown", "stream", "group", "error"),
    "%s: a batch could not be decoded; looking for the entry": _named("batch_undecoded", "stream"),
    "an event does not count: %s: %s": _named("expression_failed", "expression", "error"),
    "%.0f %% of the last %d events are of shard %d of %d: most of them are of one person, or have one id. Numbers stay "
    "right, but one process has most of the work": _named("shard_skewed", "percent", "events", "shard", "shards"),
    "%s: more than %d series and windows are open at once; what is new counts as %s. Lower allowed_lateness, take "
    "longer windows or fewer dimensions": _named("windows_capped", "metrics", "most", "counted_as"),
    "%s: more than %d series by %s; what is new counts as %s. Raise max_series, or take fewer dimensions": _named(
        "series_capped", "metrics", "most", "by", "counted_as"
    ),
    "people: more than %d events may still be changed by late ones; the oldest no longer can be": _named(
        "people_events_capped", "most"
    ),
    "people: %d late events of a past that is no longer held; no analysis counts them": _named(
        "people_too_late", "events"
    ),
    "people: more than %d different texts; what is new counts as %s": _named(
        "people_texts_capped", "most", "counted_as"
    ),
    "%s %s is left out: %s": _named("command_left_out", "stream", "entry", "error"),
    # Sinks
    "%s: trying again in %.1f s: %s": _named("write_retried", "sink", "wait_s", "error"),
    "%s: giving up: %s": _named("write_given_up", "sink", "error"),
    "%s: %s": _named("sink_misconfigured", "sink", "error"),
    "%s refused %d points: %s": _named("points_refused", "sink", "points", "error"),
    "%s: its schema version is %s and becomes %d": _named("schema_upgraded", "database", "found", "becomes"),
    "Valkey is full: the oldest %d dead letters were dropped to go on": _named("dead_letters_dropped", "letters"),
    "Valkey is full: the hash of scores has nothing new of %d people": _named("live_scores_dropped", "people"),
    "%s has %.1f MB that wait for InfluxDB, and INFLUX_URL is not set: they stay until it is": _named(
        "influx_left_behind", "spool", "megabytes"
    ),
    "influx: %s": _named("influx_failed", "why"),
    "influx: unexpected": _named("influx_unexpected"),
    "influx: %s What waits stays in %s": _named("influx_misconfigured", "error", "spool"),
    "influx: %s. %d lines (%.1f MB) wait on disk, nothing is lost; trying again until it is back": _named(
        "influx_away", "error", "lines", "megabytes"
    ),
    "influx: takes writes again, after %.0f s; %d lines wait": _named("influx_back", "away_s", "lines"),
    "influx refused %d lines, which are dead letters now: %s": _named("influx_refused", "lines", "error"),
    "influx: %d lines of %s are sent first": _named("influx_earlier_first", "lines", "spool"),
    "influx: %d lines wait from before, and are sent first": _named("influx_waiting_first", "lines"),
    "influx: %d lines wait in %s for the next start": _named("influx_left_for_later", "lines", "spool"),
    "influx: the spool %s is %.0f %% full, with %d lines; when it is full the oldest open points go first, and when "
    "only final ones are left, counting waits until InfluxDB is back (INFLUX_SPOOL_MB)": _named(
        "influx_spool_filling", "spool", "percent", "lines"
    ),
    "influx: the spool has room again, %.0f %% full": _named("influx_spool_has_room", "percent"),
    "influx: the spool is full; %d lines of open windows were let go of, the oldest first, and nothing final": _named(
        "influx_spool_full", "lines"
    ),
    "%s; events wait on disk until it is back": _named("archive_away", "error"),
    "events wait on disk; trying again in %.1f s: %s": _named("archive_retried", "wait_s", "error"),
    "events wait on disk; trying again in %.1f s": _named("archive_failed", "wait_s"),
    "%s is gone: its events are not archived": _named("archive_file_gone", "path"),
    "%s cannot be read, so its events are not archived: %s": _named("archive_file_broken", "path", "error"),
    "%s has events that other states have archived (%s). If the streams still have those events, they are now archived "
    "a second time: name another place with ARCHIVE_URL, or move those files away": _named(
        "archive_of_others", "place", "states"
    ),
    "the state is older than %d files of %s: their events are counted again, so they were renamed to …%s%s, and no "
    "longer count. Delete them once those events are there": _named(
        "archive_files_aside", "files", "place", "example", "ending"
    ),
    # Alerts, forecasts and models
    "silence of alert %s by %s: it is not open": _named("silence_unused", "alert", "by"),
    "%s of alert %s by %s: it is not open": _named("order_unused", "order", "alert", "by"),
    "rule %s cannot judge %s at %d": _named("rule_failed", "rule", "series", "at_ms"),
    "rule %s learns %s anew: it cannot judge %r": _named("rule_learns_anew", "rule", "series", "row"),
    "rule %s is about something else now, and learns anew": _named("rule_changed", "rule"),
    "%s watches %d series, its max_series, and leaves others out": _named("rule_capped", "rule", "most"),
    "%s learns %s anew: %s": _named("series_learns_anew", "rule", "series", "error"),
    "%s learns %s anew: it cannot learn %r": _named("forecast_learns_anew", "forecast", "series", "value"),
    "forecast %s is of something else now, and learns anew": _named("forecast_changed", "forecast"),
    "the model of churn learns anew: %s": _named("churn_learns_anew", "why"),
    "groups of people are found anew: %s": _named("segments_anew", "error"),
    "groups of people are found anew: the catalog wants others, or has other words for them": _named(
        "segments_changed"
    ),
    "the catalog has no [churn] any more: scores of people, and what was learned, are let go of": _named(
        "churn_dropped"
    ),
    "who had a score is not known: %s": _named("scored_people_unknown", "error"),
    # The API
    "a part of the API ended, so it stops": _named("api_part_ended"),
    "events from requests are not written: %s": _named("ingest_not_written", "error"),
    "live stream: trying again in %.1f s: %s": _named("live_read_failed", "wait_s", "error"),
    "the live stream was made anew: it ends at %s and was read to %s": _named("live_stream_anew", "last", "read"),
    "live stream entry %s is not ours: %s": _named("live_entry_foreign", "entry", "error"),
    "live stream entry %s cannot be taken in, and is left out": _named("live_entry_failed", "entry"),
    "what only the store has is not shown; trying again: %s": _named("store_unread", "error"),
    "client gone: %s": _named("client_gone", "error"),
    "a client's line is ended: a fault": _named("client_line_failed"),
    # Webhooks
    "the catalog has no [[webhook]]: there is nobody to deliver to": _named("no_webhooks"),
    "webhook %s is no longer in the catalog: forgotten, with %d notifications it was to be told": _named(
        "webhook_forgotten", "endpoint", "waiting"
    ),
    "Valkey: %s; trying again": _named("outbox_unread", "error"),
    "outbox %s was not trimmed: %s": _named("outbox_not_trimmed", "outbox", "error"),
    "webhook %s: Valkey: %s; trying again": _named("webhook_ledger_failed", "endpoint", "error"),
    "webhook %s: entry %s of the outbox is %s and is passed over": _named(
        "outbox_entry_passed_over", "endpoint", "entry", "found"
    ),
    "webhook %s: delivering to %s": _named("webhook_led", "endpoint", "url"),
    "webhook %s: switched on again": _named("webhook_enabled", "endpoint"),
    "webhook %s: it answers again": _named("webhook_recovered", "endpoint"),
    "webhook %s: the clock was set by %.0f s": _named("clock_was_set", "endpoint", "by_s"),
    "webhook %s: %d failures in a row, the last: %s; from now on it is only tried now and then": _named(
        "webhook_failing", "endpoint", "failures", "error"
    ),
    "webhook %s: notification %s is given up: %s": _named("notification_dead", "endpoint", "notification", "why"),
    "webhook %s: it answered 410 and is switched off; `streamgauge webhooks enable %s` ends that": _named(
        "webhook_disabled", "endpoint", "name"
    ),
    "webhook %s: unforeseen; trying again in %.0f s": _named("webhook_unforeseen", "endpoint", "wait_s"),
    "the delivery log was not pruned: %s": _named("delivery_log_unpruned", "error"),
    "the delivery log cannot be written, deliveries go on: %s": _named("delivery_log_failed", "error"),
    # The demo
    "Valkey takes no events, trying again: %s": _named("demo_waits", "error"),
    "Valkey takes events again after %d attempts": _named("demo_goes_on", "attempts"),
}
"""By the sentence as it is in the source, before its values are put in."""

SAID_THERE: Mapping[str, str] = {
    "catalog_note": "something of the catalog that is worth a look; `check` says it too",
    "state_unusable": "the state directory cannot be used",
    "processor_misconfigured": "something that is set cannot be used",
    "state_partly_taken": "what of a snapshot the present catalog has no use for, or lacks",
    "step_failed": "a step of the dataflow raised, and the processor ends",
    "stream_begun": "a stream is read for the first time",
    "stream_gap": "entries were gone before they were read, or a stream was made anew",
    "webhook_lease_lost": "another process delivers to the endpoint now",
}
"""Names that are given where it is said, with what they mean."""


def event_of(logger: str, sentence: object, own: object) -> Named:
    """The name of a record: `own` where it has one, else that of its sentence; of others' records, their logger's."""
    if isinstance(own, str):
        return Named(own)
    if logger.partition(".")[0] in OWN:
        return NAMES.get(str(sentence), Named("unnamed"))
    return Named(logger.replace(".", "_").lower())
