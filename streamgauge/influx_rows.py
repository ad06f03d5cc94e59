"""Reading back what was written: whole rows, with Flux from InfluxDB 2 and with InfluxQL from others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from influxdb_client.client.influxdb_client import InfluxDBClient

from sinks.alert_lines import MEASUREMENT as ALERTS
from sinks.errors import Misconfigured
from sinks.records import iso
from streamgauge.influx_places import InfluxPlace
from streamgauge.influx_quoting import flux_text, influxql_name
from streamgauge.influx_server import Http, Kind, Server, answers

PROBE = "streamgauge_check"
"""The measurement in which `influx check` tries out whether it can write."""
_NO_METRICS = (ALERTS, PROBE)
_FAR = "2262-01-01T00:00:00Z"
"""Behind all that there can be: what is forecast lies ahead, and Flux ends its ranges at now."""
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """All fields of one series at one time."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    """By name."""
    time_ms: int
    fields: Mapping[str, float | str | bool]


class Reader(Protocol):
    def rows(self, bucket: str, measurement: str | None, since_ms: int) -> Iterator[Row]:
        """The rows of a measurement, or of all metrics, from that time on. Raises SinkError."""
        ...

    def latest_ms(self, bucket: str, measurement: str | None) -> int | None:
        """The time of the latest row; None where there is none."""
        ...


def reader_of(server: Server, place: InfluxPlace, http: Http, client: InfluxDBClient) -> Reader:
    """Raises Misconfigured for a server that cannot be asked for rows."""
    if server.kind is Kind.INFLUX2:
        return FluxReader(place, client)
    if server.kind is Kind.VICTORIA:
        where = f"{place.url}/api/v1/export"
        raise Misconfigured(
            f"{server} at {place.url} has neither Flux nor InfluxQL; ask it at {where} or with MetricsQL"
        )
    return InfluxQlReader(http)


class FluxReader:
    def __init__(self, place: InfluxPlace, client: InfluxDBClient) -> None:
        self._place = place
        self._api = client.query_api()

    def rows(self, bucket: str, measurement: str | None, since_ms: int) -> Iterator[Row]:
        query = rows_flux(bucket, measurement, since_ms)
        with answers(self._place, "INFLUX_TOKEN", f"reading of {bucket}"):
            tables = self._api.query(query)
        for table in tables:
            # Its classes have no types of their own.
            key: Any = table.get_group_key
            tags = [column.label for column in key() if not column.label.startswith("_")]
            known = {column.label for column in table.columns}
            for record in table.records:
                values = record.values
                yield Row(
                    values["_measurement"],
                    tuple((name, values[name]) for name in sorted(tags)),
                    # In whole numbers: a float has no millisecond to lose, and may round one away.
                    (values["_time"] - _EPOCH) // timedelta(milliseconds=1),
                    {
                        name: values[name]
                        for name in sorted(known - set(tags))
                        if name not in ("result", "table") and name[0] != "_" and values[name] is not None
                    },
                )

    def latest_ms(self, bucket: str, measurement: str | None) -> int | None:
        with answers(self._place, "INFLUX_TOKEN", f"reading of {bucket}"):
            tables = self._api.query(latest_flux(bucket, measurement))
        times = [record.values["_time"] for table in tables for record in table.records]
        return max(((time - _EPOCH) // timedelta(milliseconds=1) for time in times), default=None)


class InfluxQlReader:
    def __init__(self, http: Http) -> None:
        self._http = http

    def rows(self, bucket: str, measurement: str | None, since_ms: int) -> Iterator[Row]:
        query = f"SELECT * FROM {_from(measurement)} WHERE time >= {since_ms}ms GROUP BY *"
        for series in self._http.influxql(bucket, query):
            if measurement is None and series["name"] in _NO_METRICS:
                continue
            tags = tuple(sorted((name, value) for name, value in series.get("tags", {}).items() if value))
            names = series["columns"][1:]
            for time_ms, *values in series["values"]:
                fields = {name: value for name, value in zip(names, values, strict=True) if value is not None}
                yield Row(series["name"], tags, time_ms, fields)

    def latest_ms(self, bucket: str, measurement: str | None) -> int | None:
        found = self._http.influxql(bucket, f'SELECT last("revision") FROM {_from(measurement)}')
        return max((one["values"][0][0] for one in found if one["name"] not in _NO_METRICS), default=None)


def rows_flux(bucket: str, measurement: str | None, since_ms: int) -> str:
    return f"""from(bucket: {flux_text(bucket)})
  |> range(start: {iso(since_ms)}, stop: {_FAR})
  |> filter(fn: (r) => {_which(measurement)})
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")"""


def latest_flux(bucket: str, measurement: str | None) -> str:
    return f"""from(bucket: {flux_text(bucket)})
  |> range(start: 1970-01-01T00:00:00Z, stop: {_FAR})
  |> filter(fn: (r) => {_which(measurement)} and r["_field"] == "revision")
  |> last()
  |> group()
  |> sort(columns: ["_time"], desc: true)
  |> limit(n: 1)"""


def _which(measurement: str | None) -> str:
    if measurement is not None:
        return f'r["_measurement"] == {flux_text(measurement)}'
    return " and ".join(f'r["_measurement"] != {flux_text(name)}' for name in _NO_METRICS)


def _from(measurement: str | None) -> str:
    return "/.*/" if measurement is None else influxql_name(measurement)
