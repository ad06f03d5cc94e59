"""`streamgauge top`: what all parts say of themselves, as one screen each second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import valkey
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from valkey.exceptions import ValkeyError

from streamgauge.asking import Role, Unreachable, samples_of
from streamgauge.last_words import Heard, last_words
from streamgauge.samples import Samples
from streamgauge.settings import Settings

_MOST_MEMBERS = 16
_WITHIN_S = 1.0
_P = "streamgauge_processor"
NOT_KNOWN = "-"


@dataclass(slots=True)
class Look:
    """What was found at one moment."""

    at_s: float
    parts: dict[Role, list[Samples]] = field(default_factory=dict)
    """Of each part its processes, in their order; none where it is not reachable."""
    why: dict[Role, str] = field(default_factory=dict)
    heard: Heard | str = "not asked"
    """What the processor said on the live stream, or why that is not known."""


def look(settings: Settings, client: valkey.Valkey | None, now_s: float) -> Look:
    """Ask all parts; takes seconds at the most, and raises nothing."""
    found = Look(now_s)
    for role in Role:
        found.parts[role] = members = []
        for number in range(_MOST_MEMBERS):
            try:
                members.append(samples_of(settings, role, number, _WITHIN_S))
            except Unreachable as error:
                if not members:
                    found.why[role] = str(error)
                break
            if role is Role.DELIVER:
                break
    if client is None:
        found.heard = "VALKEY_URL is not set"
        return found
    try:
        found.heard = last_words(client, None)
    except ValkeyError as error:
        found.heard = f"Valkey: {error}"
    return found


def draw(now: Look, before: Look) -> RenderableType:
    """The screen; rates are those since `before`."""
    parts: list[RenderableType] = [_headline(now, before), _streams(now, before), _processes(now, before)]
    if now.parts[Role.PROCESSOR]:
        parts.append(_sinks(now, before))
    parts.append(_clients(now, before))
    parts.append(_webhooks(now, before))
    for role, why in now.why.items():
        # Only the deliverer may be missing and nothing be wrong.
        needed, style = ("; it runs only where there are webhooks", "dim") if role is Role.DELIVER else ("", "yellow")
        parts.append(Text(f"{role.value} is not reachable: {why}{needed}", style=style))
    return Group(*parts)


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """Of a histogram's counts up to each bound, as PromQL has it; None without any. Beyond the last bound: that."""
    bounds = list(buckets.items())
    wanted = share * bounds[-1][1] if bounds else 0.0
    if wanted <= 0:
        return None
    below, count_below = 0.0, 0.0
    for bound, count in bounds:
        if count >= wanted:
            if bound == float("inf"):
                return below
            return below + (bound - below) * (wanted - count_below) / max(1e-9, count - count_below)
        below, count_below = bound, count
    return below


def _headline(now: Look, before: Look) -> Text:
    moment = datetime.fromtimestamp(now.at_s, UTC).strftime("%H:%M:%S UTC")
    told = [f"streamgauge  {moment}"]
    if processors := now.parts[Role.PROCESSOR]:
        fresh = _since(now, before, Role.PROCESSOR, f"{_P}_freshness_seconds")
        told.append(f"events/s {_rate(now, before, Role.PROCESSOR, f'{_P}_received_events_total')}")
        told.append(f"freshness p50 {_ms(quantile(fresh, 0.5))} p99 {_ms(quantile(fresh, 0.99))}")
        behind = [one.most(f"{_P}_event_time_lag_seconds") for one in processors]
        told.append(f"watermark {_s(max((b for b in behind if b is not None), default=None))} behind")
        told.append(f"open alerts {_number(_total(processors, f'{_P}_open_alerts'))}")
    elif isinstance(now.heard, Heard) and now.heard.watermark_ms is not None:
        told.append(f"watermark {_s(now.at_s - now.heard.watermark_ms / 1_000)} behind")
    return Text("   ".join(told), style="bold")


def _streams(now: Look, before: Look) -> Table:
    table = _table("stream", "events/s", "lag", "behind", "heard")
    processors = now.parts[Role.PROCESSOR]
    if processors:
        rates = _rates(now, before, Role.PROCESSOR, f"{_P}_received_events_total", "stream")
        lag = _by(processors, f"{_P}_lag_entries", "stream")
        lag_s = _by(processors, f"{_P}_lag_seconds", "stream")
        for name, reported in sorted(_by(processors, f"{_P}_reported_timestamp_seconds", "stream").items()):
            table.add_row(
                name, _number(rates.get(name)), _number(lag.get(name)), _s(lag_s.get(name)), _ago(now.at_s - reported)
            )
    elif isinstance(now.heard, Heard):
        for name, status in sorted(now.heard.streams.items()):
            ago = _ago(now.at_s - status.get("at_ms", 0) / 1_000)
            table.add_row(name, NOT_KNOWN, _number(status.get("lag")), _s(status.get("lag_ms", 0) / 1_000), ago)
    if not table.row_count:
        why = now.heard if isinstance(now.heard, str) else "the processor has said nothing"
        table.add_row(f"not reachable: {why}", *[NOT_KNOWN] * 4)
    return table


def _processes(now: Look, before: Look) -> Table:
    table = _table("part", "cpu", "memory", "up for", "loop")
    for role in Role:
        for number, samples in enumerate(now.parts[role]):
            earlier = before.parts.get(role, [])
            then = earlier[number] if number < len(earlier) else None
            started = samples.total("process_start_time_seconds")
            loop_s = samples.total(f"streamgauge_{role.value}_loop_seconds")
            memory = samples.total("process_resident_memory_bytes")
            table.add_row(
                f"{role.value} {number}",
                _percent(_grown(samples, then, "process_cpu_seconds_total", now.at_s - before.at_s)),
                NOT_KNOWN if memory is None else f"{memory / 1e6:,.0f} MB",
                _s(None if started is None else now.at_s - started),
                NOT_KNOWN if loop_s is None else "turns" if loop_s < 5 else f"still for {_s(loop_s)}",
            )
        if not now.parts[role]:
            table.add_row(role.value, "not reachable", *[NOT_KNOWN] * 3)
    return table


def _sinks(now: Look, before: Look) -> Table:
    table = _table("sink", "points/s", "state", "waiting")
    processors = now.parts[Role.PROCESSOR]
    rates = _rates(now, before, Role.PROCESSOR, f"{_P}_sent_points_total", "sink")
    failing = _by(processors, f"{_P}_failing_seconds", "stage")
    lines, oldest_s = (
        _total(processors, f"{_P}_influx_waiting_lines"),
        _most(processors, f"{_P}_influx_oldest_waiting_seconds"),
    )
    events, since_s = (
        _total(processors, f"{_P}_archive_waiting_events"),
        _most(processors, f"{_P}_archive_waiting_seconds"),
    )
    for name in sorted({*rates, *(stage for stage, s in failing.items() if s), *({"archive"} if events else ())}):
        waiting = NOT_KNOWN
        if name == "influx":
            waiting = f"{_number(lines)} lines, {_s(oldest_s)}"
        elif name == "archive":
            waiting = f"{_number(events)} events, {_s(since_s)}"
        failed_s = failing.get(name)
        state = NOT_KNOWN if failed_s is None else f"failing for {_s(failed_s)}" if failed_s else "works"
        table.add_row(name, _number(rates.get(name)), state, waiting)
    return table


def _clients(now: Look, before: Look) -> Table:
    table = _table("clients", "behind", "frames/s", "kB/s", "age p99")
    apis = now.parts[Role.API]
    if apis:
        hub = "streamgauge_hub"
        by_line = _by(apis, f"{hub}_clients", "line")
        kinds = ", ".join(f"{kind} {count:,.0f}" for kind, count in sorted(by_line.items()) if count)
        size = _rates(now, before, Role.API, f"{hub}_sent_bytes_total", "")
        table.add_row(
            f"{sum(by_line.values()):,.0f}{f' ({kinds})' if kinds else ''}",
            _number(_total(apis, f"{hub}_dirty_clients")),
            _rate(now, before, Role.API, f"{hub}_sent_frames_total"),
            _number(None if "" not in size else size[""] / 1e3),
            _ms(quantile(_since(now, before, Role.API, f"{hub}_age_at_send_seconds"), 0.99)),
        )
    else:
        table.add_row("not reachable", *[NOT_KNOWN] * 4)
    return table


def _webhooks(now: Look, before: Look) -> Table:
    table = _table("webhook", "sent/s", "waiting", "oldest", "state")
    delivers = now.parts[Role.DELIVER]
    d = "streamgauge_deliver"
    rates = _rates(now, before, Role.DELIVER, f"{d}_sent_events_total", "endpoint")
    oldest_s, off = _by(delivers, f"{d}_oldest_waiting_seconds", "endpoint"), _by(delivers, f"{d}_disabled", "endpoint")
    fails = _by(delivers, f"{d}_circuit_open", "endpoint")
    for name, waiting in sorted(_by(delivers, f"{d}_waiting", "endpoint").items()):
        state = "switched off" if off.get(name) else "fails" if fails.get(name) else "works"
        table.add_row(name, _number(rates.get(name)), _number(waiting), _s(oldest_s.get(name)), state)
    if not delivers:
        table.add_row("not reachable", *[NOT_KNOWN] * 4)
    return table


def follow(ask: Callable[[], Look], show: Callable[[RenderableType], None], wait: Callable[[float], bool]) -> None:
    """Show a screen each second until `wait` says to end; rates are those of about the last ten seconds."""
    looks: list[Look] = [ask()]
    while not wait(1.0):
        looks = [*looks[-10:], ask()]
        show(draw(looks[-1], looks[0]))


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column(first, min_width=24, no_wrap=False)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _by(members: list[Samples], name: str, label: str) -> dict[str, float]:
    """The values of a metric by a label, summed over processes."""
    found: dict[str, float] = {}
    for samples in members:
        for value_of, value in samples.each(name, label):
            found[value_of] = found.get(value_of, 0.0) + value
    return found


def _total(members: list[Samples], name: str) -> float | None:
    known = [value for samples in members if (value := samples.total(name)) is not None]
    return sum(known) if known else None


def _most(members: list[Samples], name: str) -> float | None:
    return max((value for samples in members if (value := samples.most(name)) is not None), default=None)


def _pairs(now: Look, before: Look, role: Role) -> Iterator[tuple[Samples, Samples]]:
    """The processes that were there both times, and did not begin anew: counters of others have grown from 0."""
    for one, then in zip(now.parts[role], before.parts.get(role, []), strict=False):
        if one.total("process_start_time_seconds") == then.total("process_start_time_seconds"):
            yield one, then


def _rates(now: Look, before: Look, role: Role, name: str, label: str) -> dict[str, float]:
    """A counter's growth a second, by a label; empty where it is not known."""
    passed_s = now.at_s - before.at_s
    found: dict[str, float] = {}
    for one, then in _pairs(now, before, role):
        earlier = _by([then], name, label)
        for value_of, value in _by([one], name, label).items():
            if passed_s > 0:
                grown = (value - earlier.get(value_of, 0.0)) / passed_s
                found[value_of] = found.get(value_of, 0.0) + grown
    return found


def _rate(now: Look, before: Look, role: Role, name: str) -> str:
    rates = _rates(now, before, role, name, "")
    return _number(rates[""]) if rates else NOT_KNOWN


def _grown(one: Samples, then: Samples | None, name: str, passed_s: float) -> float | None:
    value, earlier = one.total(name), None if then is None else then.total(name)
    return None if value is None or earlier is None or passed_s <= 0 else (value - earlier) / passed_s


def _since(now: Look, before: Look, role: Role, name: str) -> dict[float, float]:
    """What a histogram has counted since then."""
    found: dict[float, float] = {}
    for one, then in _pairs(now, before, role):
        earlier = then.buckets(name)
        for bound, count in one.buckets(name).items():
            found[bound] = found.get(bound, 0.0) + count - earlier.get(bound, 0.0)
    return found


def _number(value: float | None) -> str:
    if value is None:
        return NOT_KNOWN
    return f"{value:,.1f}" if 0 < abs(value) < 10 and value != int(value) else f"{value:,.0f}"


def _percent(share: float | None) -> str:
    return NOT_KNOWN if share is None else f"{share:.0%}"


def _ms(seconds: float | None) -> str:
    return NOT_KNOWN if seconds is None else f"{seconds * 1_000:,.0f} ms" if seconds < 10 else _s(seconds)


def _s(seconds: float | None) -> str:
    if seconds is None:
        return NOT_KNOWN
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7_200 else f"{seconds / 3_600:,.0f} h"


def _ago(seconds: float) -> str:
    return "now" if seconds < 2.5 else f"{_s(seconds)} ago"
