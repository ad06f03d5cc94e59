"""Checks of the parts that run: the processor, the API and the deliverer; and of what events come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
from valkey.exceptions import ResponseError

from live_api.conditions import BEHIND_S
from sinks.deadletter import DeadLetters
from sinks.errors import Misconfigured
from streamgauge.asking import Role, Unreachable, api_url, get, samples_of
from streamgauge.doctor.findings import Deployment, Finding, note, ok, problem, warning
from streamgauge.health import SILENT_S
from streamgauge.last_words import last_words
from streamgauge.places import outbox_of

_SKEW_MS = 1_000
_RECENT_MS = 3_600_000
_LETTERS = 2_000
_HOUR_S = 3_600


def processor(at: Deployment) -> Iterator[Finding]:
    """Whether a processor speaks, how far it is behind, and whether its clock agrees with the server's."""
    if at.client is None or at.catalog is None:
        return
    heard = last_words(at.client, at.catalog.platform.name)
    said_ms, server_ms, watermark_ms = heard.said_ms, heard.server_ms, heard.watermark_ms
    if not said_ms:
        yield problem("no processor of this platform has said anything", "nothing is counted", "`streamgauge run`")
        return
    seconds, _ = at.ask("TIME")
    silent_s = int(seconds) - server_ms // 1_000
    if silent_s > SILENT_S:
        yield problem(f"the processor was last heard {silent_s:,} s ago", "nothing is counted", "look at its log")
    else:
        yield ok(f"the processor was heard {max(0, silent_s)} s ago")
    off_ms = said_ms - server_ms
    if abs(off_ms) > _SKEW_MS:
        yield warning(
            f"the processor's clock is {off_ms / 1_000:+.1f} s from the server's",
            "lag and freshness are off by that",
            "keep both in time by NTP",
        )
    yield from _lag(heard.streams)
    if watermark_ms is not None and silent_s <= SILENT_S:
        behind_s = (said_ms - watermark_ms) // 1_000
        said = f"the latest watermark that it has told is {behind_s:,} s behind its clock"
        if behind_s > _HOUR_S:
            yield note(said, "windows close that late: events are old (a replay), or a producer's clock is wrong")
        else:
            yield ok(said)


def _lag(streams: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    for name, status in sorted(streams.items()):
        lag_s, lag = status.get("lag_ms", 0) / 1_000, status.get("lag")
        entries = "" if lag is None else f", {lag:,} entries"
        if lag_s > BEHIND_S:
            yield warning(
                f"{name} is {lag_s:,.0f} s behind{entries}",
                "numbers are that old",
                "`streamgauge top` says whether processes are busy or a sink holds them up",
            )
        else:
            yield ok(f"{name} is read to its end{entries}")
        if status.get("lost"):
            yield warning(
                f"{name}: {status['lost']:,} entries were gone before they were read, in {status.get('gaps', 0)} gaps",
                "they are in no number",
                "see who trims the stream, and whether the server's append-only file is on",
            )


def api(at: Deployment) -> Iterator[Finding]:
    """Whether the API on this machine answers, and what it says of itself."""
    base = api_url(at.settings)
    try:
        found = get(f"{base}/readyz")
        said = orjson.loads(found.body)
        reasons = "; ".join(map(str, said["reasons"]))
    except Unreachable as error:
        yield note(str(error), "it may run elsewhere", "set STREAMGAUGE_HOST and STREAMGAUGE_PORT as it has them")
        return
    except (ValueError, KeyError, TypeError):
        yield warning(
            f"{base} is something else", "nobody finds the wallboard there", "choose another STREAMGAUGE_PORT"
        )
        return
    if found.status != 200:
        yield problem(f"the API is not ready: {reasons}", "walls say that they are stale", "mend what it names")
    elif reasons:
        yield warning(f"the API is degraded: {reasons}", "numbers are late", "mend what it names")
    else:
        yield ok(f"the API at {base} is ready")


def webhooks(at: Deployment) -> Iterator[Finding]:
    """Whether the catalog's webhooks have their secrets, and what waits for them."""
    if at.catalog is None or not at.catalog.webhook:
        return
    from streamgauge.delivering import endpoints_of

    try:
        made = endpoints_of(at.catalog, at.environment)
        yield ok(f"{len(made)} webhooks have all that they need")
    except Misconfigured as error:
        for line in str(error).splitlines():
            yield problem(line, "`deliver` will not start", "set it where `deliver` runs")
    try:
        samples = samples_of(at.settings, Role.DELIVER)
    except Unreachable as error:
        yield note(str(error), "`deliver` may run elsewhere, or not at all: then nobody is told of alerts")
    else:
        for endpoint, waited_s in samples.each("streamgauge_deliver_oldest_waiting_seconds", "endpoint"):
            if waited_s > 300:
                yield warning(
                    f"{endpoint}: a notification has waited for {waited_s:,.0f} s",
                    "somebody is not told of an alert",
                    "`streamgauge webhooks list` says what it last answered",
                )
    if at.client is None:
        return
    try:
        groups: Any = at.client.xinfo_groups(outbox_of(at.catalog))
    except ResponseError:
        yield note("there is no outbox yet", "the processor makes it when it starts")
        return
    for group in groups:
        waiting = int(group.get("lag") or 0)
        if waiting > 1_000:
            yield warning(
                f"{waiting:,} notifications were not taken up for {group['name'].decode()}",
                "`deliver` does not run, or cannot keep up",
                "start `streamgauge deliver`",
            )


def refused(at: Deployment) -> Iterator[Finding]:
    """What was refused within the last hour, by reason."""
    if at.client is None:
        return
    seconds, _ = at.ask("TIME")
    since_ms = int(seconds) * 1_000 - _RECENT_MS
    reasons: Counter[str] = Counter()
    read = 0
    for page in DeadLetters(at.client).pages(first=str(since_ms), backwards=True):
        reasons.update(kept.letter.reason.value for kept in page if kept.letter is not None)
        read += len(page)
        if read >= _LETTERS:
            break
    if not reasons:
        yield ok("nothing was refused within the last hour")
        return
    more = "at least " if read >= _LETTERS else ""
    said = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
    yield warning(
        f"{more}{sum(reasons.values()):,} dead letters within the last hour: {said}",
        "these events are in no number",
        "`streamgauge deadletter list` shows them; `replay` sends them back once that is mended",
    )
