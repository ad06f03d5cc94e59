"""Alerts as InfluxDB line protocol: one line each time that something happens to one.

`alerts,channel=#en,metric=edits,rule=edits_low,severity=critical,status=firing,window=1m id="…",score=4.5,peak=5,
actual=3,expected=40,opened=1442016000000,why="…" 1442016060000`

The measurement is `alerts`; the tags are the dimensions and what alerts are counted by. The id is a field: as a tag
that never comes again, it would make a new series each time. A number that is missing or not finite is left out. The
timestamp is the moment of the change in milliseconds: the end of the window, or the time of the command.

A dimension whose name would clash gets an underscore: `rule` becomes the tag `rule_`, and `rule_`, where somebody has
that, `rule__`. Text that engines do not read alike is written as `sinks.line_protocol` has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isfinite

from sinks.alert_records import Alert
from sinks.line_protocol import PICTURES, portable, tag_text

MEASUREMENT = "alerts"

_TAGS = ("rule", "metric", "window", "severity", "status")
_FIELDS = ("id", "score", "peak", "actual", "expected", "opened", "why")
_TAKEN = re.compile(rf"(?:{'|'.join((*_TAGS, *_FIELDS))}|time|_time|_field|_measurement)_*\Z")
_MOST_WHY_CHARACTERS = 2_000


def alert_line(at_ms: int, alert: Alert) -> bytes:
    """What `alert` is from `at_ms` on, without a line end."""
    tags = {f"{name}_" if _TAKEN.match(name) else name: value for name, value in alert.dimensions}
    tags |= {
        "rule": alert.rule,
        "metric": alert.metric,
        "window": alert.window,
        "severity": alert.severity.value,
        "status": alert.status.value,
    }
    # InfluxDB wants them by their bytes, which for UTF-8 is by their code points.
    prefix = ",".join((MEASUREMENT, *(f"{tag_text(name)}={tag_text(tags[name])}" for name in sorted(tags))))
    numbers = {
        "score": alert.score,
        "peak": alert.peak,
        "actual": alert.actual,
        "expected": alert.expected,
        "opened": float(alert.opened_ms),
    }
    fields = [f"id={_quoted(alert.id)}"]
    fields += [f"{name}={value!r}" for name, value in numbers.items() if value is not None and isfinite(value)]
    fields.append(f"why={_quoted(alert.why[:_MOST_WHY_CHARACTERS])}")
    return f"{prefix} {','.join(fields)} {at_ms}".encode()


def alert_lines(changes: Iterable[tuple[int, Alert]]) -> list[bytes]:
    """One line a change, in their order."""
    return [alert_line(at_ms, alert) for at_ms, alert in changes]


def _quoted(text: str) -> str:
    """A string field. Inside of quotes only they and backslashes are special, but lines must stay lines."""
    if not text:
        return '""'
    escaped = portable(text).replace("\\", PICTURES["\\"]).replace('"', '\\"')
    return f'"{escaped}"'
