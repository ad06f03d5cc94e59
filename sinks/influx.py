"""The points in InfluxDB 2, or whatever else takes its writes: InfluxDB 1.8 and 3, VictoriaMetrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError, LocationValueError

from sinks.alert_lines import alert_lines
from sinks.alert_records import Alert
from sinks.errors import Misconfigured, Rejected, Retryable, SinkError
from sinks.influx_tiers import Buckets, Tier
from sinks.line_protocol import LineEncoder
from sinks.records import Point, State

BATCH_LINES = 5_000
"""What InfluxData recommends for one request."""

_TOO_LARGE = 413
_REFUSED = (400, 422)
_BUSY = (408, 425, 429, 503)

# "partial write: points beyond retention policy dropped=17": how many of the batch were not taken.
_DROPPED = re.compile(r"\bdropped=(\d+)")
_MEASUREMENT = re.compile(rb"(?:\\.|[^,\\ ])*")
_QUOTED_LINES = 3


class InfluxSink:
    """Writes final and corrected points to a bucket, and open ones too with `open_points=True`; none of the metrics to
    `skip`.

    *Guarantee*: when `write` returns, the server has taken every point. The same measurement, tags and time
    overwrite, so writing again changes nothing. With `open_points`, a replay after a crash may show an open
    value in place of a final one until the final one is replayed as well. VictoriaMetrics keeps every sample:
    it overwrites only with `-dedup.minScrapeInterval=1ms`, and which of two values stays is up to its
    release.
    *Failure*: lines that the server will never take → `Rejected` with exactly those lines, after all others
    were written; a wrong token, organisation, bucket or URL → `Misconfigured` naming the setting; busy, away
    or failing → `Retryable`, with what the server asked us to wait. Nothing is retried here.
    *Cost*: one request per 5,000 points and bucket. A bad line is found by looking at each measurement of its batch
    alone, and halving what is refused again: some 25 requests for one, and one for a measurement that is refused whole.
    """

    def __init__(
        self,
        url: str,
        token: str,
        org: str,
        bucket: str | Buckets,
        *,
        timeout_s: float = 10.0,
        open_points: bool = False,
        skip: frozenset[str] = frozenset(),
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise Misconfigured(f"INFLUX_URL is {url!r}, expected one like http://localhost:8086")
        self.buckets = bucket if isinstance(bucket, Buckets) else Buckets(bucket)
        if not self.buckets.raw:
            raise Misconfigured("INFLUX_BUCKET is empty, expected the name of a bucket")
        self._url = url
        self._org = org
        self._open_points = open_points
        self._skip = skip
        self._encoder = LineEncoder()
        # retries=False: one loop for all sinks decides, and a second one below it would multiply the waiting.
        self._client = InfluxDBClient(
            url, token, org=org, timeout=int(timeout_s * 1000), enable_gzip=True, retries=False
        )
        self._write_api = self._client.write_api(write_options=SYNCHRONOUS)

    def setup(self) -> None:
        """Nothing to make ready: a missing bucket or a wrong token shows in the first write."""

    def write(self, points: Sequence[Point]) -> None:
        """Write `points`; open ones are passed over unless the sink was asked for them, as are metrics to skip."""
        lines: dict[Tier, list[bytes]] = {}
        for tier, of_tier in self.by_tier(points).items():
            lines[tier] = self._encoder.lines(of_tier)
        self.post(lines)

    def write_alerts(self, changes: Sequence[tuple[int, Alert]]) -> None:
        """Write what alerts have become, each with the moment from which on: a line each, in the measurement `alerts`.

        As `write`: all of them are taken when it returns, writing one again changes nothing, and the same errors.
        """
        self.post({Tier.RAW: alert_lines(changes)})

    def by_tier(self, points: Iterable[Point]) -> dict[Tier, list[Point]]:
        """Those of `points` that are to be written, by the bucket that they are for."""
        tiers: dict[str, Tier] = {}
        found: dict[Tier, list[Point]] = {}
        for point in points:
            if point.metric in self._skip or (point.state is State.OPEN and not self._open_points):
                continue
            tier = tiers.get(point.window)
            if tier is None:
                tier = tiers[point.window] = self.buckets.tier(point.window)
            found.setdefault(tier, []).append(point)
        return found

    def post(self, lines: Mapping[Tier, Sequence[bytes]]) -> None:
        """Write lines to the buckets of their tiers; the same errors as `write`."""
        rejected: list[bytes] = []
        reasons: list[str] = []
        for tier, of_tier in lines.items():
            for i in range(0, len(of_tier), BATCH_LINES):
                self._send(tier, of_tier[i : i + BATCH_LINES], rejected, reasons)
        if rejected:
            # Each reason once, in the order they came: a thousand lines mostly fail for the same one.
            said = "; ".join(list(dict.fromkeys(reasons))[:_QUOTED_LINES])
            written = sum(map(len, lines.values()))
            raise Rejected(f"InfluxDB at {self._url} refused {len(rejected)} of {written} lines: {said}", rejected)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()  # type: ignore[no-untyped-call]

    def _send(self, tier: Tier, lines: Sequence[bytes], rejected: list[bytes], reasons: list[str]) -> None:
        """Write `lines`, or those parts of them that the server takes, down to single lines."""
        try:
            self._post(tier, lines)
        except _Refused as error:
            if len(lines) == 1 or error.dropped == len(lines):
                rejected.extend(lines)
                reasons.append(str(error))
                return
            # Part of them may have been written; writing them again changes nothing.
            for part in _halves(lines) if error.is_too_large else _parts(lines):
                self._send(tier, part, rejected, reasons)

    def _post(self, tier: Tier, lines: Sequence[bytes]) -> None:
        try:
            self._write_api.write(
                self.buckets.of(tier),
                self._org,
                b"\n".join(lines),
                write_precision=WritePrecision.MS,  # type: ignore[arg-type]
            )
        except ApiException as error:
            raise self._as_sink_error(error, tier) from error
        except LocationValueError as error:
            raise Misconfigured(f"INFLUX_URL is {self._url!r}: {error}") from error
        except HTTPError as error:
            raise Retryable(f"InfluxDB at {self._url} cannot be reached: {error}") from error
        except UnicodeDecodeError as error:
            # The client decodes every answer; only a proxy or the like in between sends what is not UTF-8.
            raise Retryable(f"InfluxDB at {self._url} answered with something that is not text") from error

    def _as_sink_error(self, error: ApiException, tier: Tier) -> SinkError | _Refused:
        status, said = error.status, _said(error)
        setting, bucket = self.buckets.setting(tier), self.buckets.of(tier)
        text = f"InfluxDB at {self._url} answered {status}: {said}"
        if status in _REFUSED or status == _TOO_LARGE:
            dropped = _DROPPED.search(said)
            return _Refused(said, int(dropped[1]) if dropped else None, is_too_large=status == _TOO_LARGE)
        if status in _BUSY:
            return Retryable(text, _retry_after_s(error))
        if status == 401:
            return Misconfigured(f"{text}. Set INFLUX_TOKEN to a token that the server knows.")
        if status == 403:
            return Misconfigured(f"{text}. INFLUX_TOKEN may not write to {setting} {bucket!r}.")
        if status == 404:
            return Misconfigured(f"{text}. {self._what_is_missing(said, tier)}")
        if status == 0:  # the client's word for a TLS error
            if "CERTIFICATE_VERIFY_FAILED" in said:
                return Misconfigured(f"INFLUX_URL {self._url!r} has a certificate that is not trusted: {said}")
            return Retryable(f"InfluxDB at {self._url} cannot be reached: {said}")
        if status >= 500:
            return Retryable(text)
        return Misconfigured(f"{text}. INFLUX_URL does not lead to an InfluxDB write API.")

    def _what_is_missing(self, said: str, tier: Tier) -> str:
        if "bucket" in said or "database" in said:  # as InfluxDB 1 calls it
            return f"Create the bucket {self.buckets.of(tier)!r} or set {self.buckets.setting(tier)}."
        if "org" in said:
            return f"Set INFLUX_ORG, which is {self._org!r}, to an organisation that the server knows."
        return f"INFLUX_URL {self._url!r} does not lead to an InfluxDB write API."


class _Refused(Exception):
    """The server took not all of a request; `dropped` is how many lines it left out, where it says so."""

    def __init__(self, said: str, dropped: int | None, *, is_too_large: bool) -> None:
        super().__init__(said)
        self.dropped = dropped
        self.is_too_large = is_too_large


def _parts(lines: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Each measurement alone, as mostly all lines of one are refused for the same reason; else halves."""
    by_measurement: dict[bytes, list[bytes]] = {}
    for line in lines:
        found = _MEASUREMENT.match(line)
        by_measurement.setdefault(found[0] if found else b"", []).append(line)
    return list(by_measurement.values()) if len(by_measurement) > 1 else _halves(lines)


def _halves(lines: Sequence[bytes]) -> list[Sequence[bytes]]:
    middle = len(lines) // 2
    return [lines[:middle], lines[middle:]]


def _said(error: ApiException) -> str:
    """The server's message: `message` in InfluxDB 2, `error` in 1 and 3, anything from a proxy."""
    body = error.body or ""
    with suppress(ValueError):
        answer = json.loads(body)
        if isinstance(answer, dict):
            body = answer.get("message") or answer.get("error") or body
    return str(body or error.reason or "nothing more").strip()


def _retry_after_s(error: ApiException) -> float | None:
    """Seconds as the server gave them, or from its own clock to the time that it named."""
    asked = error.headers.get("Retry-After") if error.headers else None
    if asked is None:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        wait = parsedate_to_datetime(asked) - parsedate_to_datetime(error.headers["Date"])
    except (KeyError, TypeError, ValueError):
        return None
    return max(0.0, wait.total_seconds())
