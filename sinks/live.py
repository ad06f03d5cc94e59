"""The live sink: what changed each tick, on a bounded Valkey stream that every API process reads.

Entry format: one field `u`, JSON: `{"t": epoch ms, "platform": name, "points": [[metric, window, start_ms,
[[name, value], …], value, count, state, revision, watermark_ms, error], …], "status": {stream: {…}},
"alerts": {id: {…}}, "watch": {rule: {…}}, "reload_ms": …}`; any of the last five may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import orjson
import valkey
from valkey import exceptions

from sinks.alert_records import Alert
from sinks.errors import Misconfigured, Retryable
from sinks.records import Point, State

LIVE_STREAM = "streamgauge:live"
FIELD = b"u"
_POINTS_AN_ENTRY = 1_000


@dataclass(frozen=True, slots=True)
class Update:
    """One entry of the live stream."""

    at_ms: int
    points: list[Point] = field(default_factory=list)
    status: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How far each stream has been read, by stream."""
    platform: str = ""
    """Whose numbers these are: several platforms may share a server."""
    alerts: dict[str, dict[str, Any]] | None = None
    """Alerts that changed, by id, each as a whole; none of them says that somebody watches, None that nobody may."""
    watch: dict[str, dict[str, int]] | None = None
    """How many series of each rule are `learning`, `ok`, `pending`, `firing`, …; None where nothing is said of it."""
    reload_ms: int | None = None
    """A word to every page that is open: load yourself anew, at some moment within so many milliseconds."""


class LiveSink:
    """Writes updates to the live stream.

    *Guarantee*: when `write` returns, every update is in the stream; the stream keeps about the last `maxlen` entries,
    fewer when the server is full: the oldest make room, as a full server must not stop the processor.
    *Failure*: Retryable while Valkey is away, loading or full. *Cost*: 2 µs a point.
    """

    def __init__(
        self, client: valkey.Valkey, *, platform: str = "", stream: str = LIVE_STREAM, maxlen: int = 2_048
    ) -> None:
        self._client = client
        self._stream = stream
        self._platform = platform
        self._maxlen = maxlen

    def write(
        self,
        points: Sequence[Point],
        status: Mapping[str, Mapping[str, Any]],
        *,
        now_ms: int,
        alerts: Sequence[Alert] | None = None,
        watch: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        """Write what changed. `alerts` are those that changed, each as a whole; an empty sequence says that somebody
        watches, None says nothing. `watch` is how many series of each rule are in which state."""
        chunks = [points[at : at + _POINTS_AN_ENTRY] for at in range(0, len(points), _POINTS_AN_ENTRY)] or [()]
        entries = [encode_update(now_ms, chunk, status, self._platform) for chunk in chunks[:-1]]
        # Behind the points that they are about.
        entries.append(encode_update(now_ms, chunks[-1], status, self._platform, alerts=alerts, watch=watch))
        try:
            pipe = self._client.pipeline(transaction=False)
            for entry in entries:
                pipe.xadd(self._stream, {FIELD: entry}, maxlen=self._maxlen, approximate=True)
            # Raised by the client, an error would quote the command, that is all points: not for a log.
            answers = pipe.execute(raise_on_error=False)
        except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
            raise Misconfigured(f"live stream {self._stream}: {error}. Check VALKEY_URL.") from error
        except exceptions.ValkeyError as error:
            raise Retryable(f"live stream {self._stream}: {error}") from error
        for answer in answers:
            if not isinstance(answer, exceptions.ValkeyError):
                continue
            if isinstance(answer, exceptions.NoPermissionError) or str(answer).startswith("WRONGTYPE"):
                raise Misconfigured(f"live stream {self._stream}: {answer}")
            if isinstance(answer, exceptions.OutOfMemoryError):
                trim_half(self._client, self._stream)
            raise Retryable(f"live stream {self._stream}: {answer}")

    def reload(self, within_ms: int, *, now_ms: int) -> None:
        """Tell every page to load itself anew within so long. Raises Retryable."""
        entry = orjson.dumps({"t": now_ms, "platform": self._platform, "reload_ms": within_ms})
        try:
            self._client.xadd(self._stream, {FIELD: entry}, maxlen=self._maxlen, approximate=True)
        except exceptions.ValkeyError as error:
            raise Retryable(f"live stream {self._stream}: {error}") from error


def trim_half(client: valkey.Valkey, stream: str) -> int:
    """Drop the older half of a stream, which a server that is out of memory still does. Returns how many entries."""
    try:
        length: Any = client.xlen(stream)
        dropped: Any = client.xtrim(stream, maxlen=length // 2, approximate=False)
        return int(dropped)
    except exceptions.ValkeyError:
        return 0


def encode_update(
    now_ms: int,
    points: Sequence[Point],
    status: Mapping[str, Mapping[str, Any]],
    platform: str = "",
    *,
    alerts: Sequence[Alert] | None = None,
    watch: Mapping[str, Mapping[str, int]] | None = None,
) -> bytes:
    body: dict[str, Any] = {"t": now_ms, "platform": platform}
    if points:
        body["points"] = [
            (
                point.metric,
                point.window,
                point.start_ms,
                point.dimensions,
                point.value,
                point.count,
                point.state,
                point.revision,
                point.watermark_ms,
                point.error,
            )
            for point in points
        ]
    if status:
        body["status"] = status
    if alerts is not None:
        body["alerts"] = {alert.id: alert.to_live() for alert in alerts}
    if watch is not None:
        body["watch"] = watch
    return orjson.dumps(body)


def decode_update(raw: bytes) -> Update:
    """The inverse of `encode_update`. Raises ValueError for anything else."""
    try:
        body = orjson.loads(raw)
        points = [
            Point(
                metric=metric,
                window=window,
                start_ms=start_ms,
                dimensions=tuple((name, value) for name, value in dimensions),
                value=value,
                count=count,
                state=_STATES[state],
                revision=revision,
                watermark_ms=watermark_ms,
                error=error,
            )
            for metric, window, start_ms, dimensions, value, count, state, revision, watermark_ms, error in body.get(
                "points", ()
            )
        ]
        update = Update(
            body["t"],
            points,
            body.get("status", {}),
            body.get("platform", ""),
            body.get("alerts"),
            body.get("watch"),
            body.get("reload_ms"),
        )
        # What is nested too deeply can be read, but not be written again.
        orjson.dumps(update.alerts)
        if not _sound(update):
            raise ValueError("not an update of the live stream: a field is of another type")
        return update
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an update of the live stream: {error!r}") from error


def _sound(update: Update) -> bool:
    return (
        type(update.at_ms) is int
        and type(update.platform) is str
        and isinstance(update.status, dict)
        and all(isinstance(status, dict) and _status_is_sound(status) for status in update.status.values())
        and (update.alerts is None or isinstance(update.alerts, dict))
        and all(isinstance(alert, dict) for alert in (update.alerts or {}).values())
        and (update.watch is None or _watch_is_sound(update.watch))
        and (update.reload_ms is None or type(update.reload_ms) is int)
        and all(
            type(point.metric) is str
            and type(point.window) is str
            and (point.error is None or type(point.error) in (int, float))
            and type(point.start_ms) is type(point.count) is type(point.revision) is type(point.watermark_ms) is int
            and all(type(name) is str and type(value) is str for name, value in point.dimensions)
            and _value_is_sound(point.value)
            for point in update.points
        )
    )


def _watch_is_sound(watch: Any) -> bool:
    return isinstance(watch, dict) and all(
        isinstance(series, dict) and all(type(count) is int for count in series.values()) for series in watch.values()
    )


def _value_is_sound(value: Any) -> bool:
    if type(value) is dict:
        return all(type(one) in _NUMBER for one in value.values())
    return type(value) in _NUMBER


def _status_is_sound(status: Mapping[str, Any]) -> bool:
    return all(type(status[name]) in types for name, types in _STATUS_TYPES.items() if name in status)


_NUMBER = (int, float, NoneType)
_STATUS_TYPES: dict[str, tuple[type, ...]] = {
    "lag": (int, NoneType),
    "lag_ms": (int, float),
    "gaps": (int,),
    "lost": (int,),
    "lost_exact": (bool,),
    "caught_up": (bool,),
    "at_ms": (int,),
    "seen_ms": (int,),
    "max_event_ms": (int, NoneType),
}
"""What readers rely on; other keys may be anything."""
_STATES = {state.value: state for state in State}
