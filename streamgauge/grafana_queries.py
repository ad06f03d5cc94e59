"""The questions that panels ask, in Flux and in InfluxQL, with names as `sinks.line_protocol` writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sinks.alert_lines import MEASUREMENT as ALERTS
from sinks.line_protocol import field_name, portable, tag_name
from streamgauge.influx_quoting import flux_text, influxql_name, influxql_text


class Language(StrEnum):
    FLUX = "flux"
    INFLUXQL = "influxql"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Some series of a metric in one window: one of their values."""

    metric: str
    window: str
    key: str | None = None
    """Which of its values, where it has several."""
    given: Mapping[str, str] = field(default_factory=dict)
    """Dimensions with one value."""
    free: Mapping[str, str] = field(default_factory=dict)
    """Dimensions with the variable of the dashboard that chooses among their values."""

    @property
    def field(self) -> str:
        return "value" if self.key is None else field_name(self.key)

    @property
    def free_tags(self) -> list[str]:
        return [tag_name(dimension) for dimension in self.free]


def over_time(language: Language, wanted: Wanted) -> str:
    """Every point, a series for each combination of the free dimensions."""
    if language is Language.FLUX:
        return _flux(wanted)
    grouped = ", ".join(map(influxql_name, wanted.free_tags))
    return f"{_influxql(influxql_name(wanted.field), wanted)}" + (f" GROUP BY {grouped}" if grouped else "")


def latest(language: Language, wanted: Wanted, limit: int) -> str:
    """A table of the latest value of each series. In Flux it has the largest only, largest first."""
    if language is Language.FLUX:
        columns = ", ".join(map(flux_text, [*wanted.free_tags, "_value"]))
        return f"""{_flux(wanted)}
  |> last()
  |> group()
  |> keep(columns: [{columns}])
  |> sort(columns: ["_value"], desc: true)
  |> limit(n: {limit})"""
    grouped = ", ".join(map(influxql_name, wanted.free_tags))
    selected = f'last({influxql_name(wanted.field)}) AS "value"'
    return _influxql(selected, wanted) + (f" GROUP BY {grouped}" if grouped else "")


ALERT_TAGS = ("rule", "severity", "status")


def alerts_table(language: Language, limit: int) -> str:
    """What became of alerts, latest first."""
    if language is Language.FLUX:
        columns = ", ".join(map(flux_text, ["_time", *ALERT_TAGS, "_value"]))
        return f"""{_flux_of_alerts()}
  |> group()
  |> keep(columns: [{columns}])
  |> sort(columns: ["_time"], desc: true)
  |> limit(n: {limit})"""
    columns = ", ".join(map(influxql_name, [*ALERT_TAGS, "why"]))
    return f"SELECT {columns} FROM {influxql_name(ALERTS)} WHERE $timeFilter ORDER BY time DESC LIMIT {limit}"


def alerts_annotation(language: Language) -> str:
    """The same as marks on time. Grafana takes `title`, `tags` and `text` by these names in what Flux answers."""
    if language is Language.INFLUXQL:
        columns = ", ".join(map(influxql_name, ["why", *ALERT_TAGS]))
        return f"SELECT {columns} FROM {influxql_name(ALERTS)} WHERE $timeFilter"
    return f"""{_flux_of_alerts()}
  |> group()
  |> keep(columns: ["_time", "rule", "severity", "_value"])
  |> rename(columns: {{rule: "title", severity: "tags", _value: "text"}})"""


def values_of(language: Language, dimension: str) -> str:
    """The values of a dimension, for a variable."""
    if language is Language.INFLUXQL:
        return f"SHOW TAG VALUES WITH KEY = {influxql_name(tag_name(dimension))}"
    return f"""import "influxdata/influxdb/schema"

schema.tagValues(bucket: v.defaultBucket, tag: {flux_text(tag_name(dimension))})"""


def _flux(wanted: Wanted) -> str:
    conditions = [
        f'r["_measurement"] == {flux_text(wanted.metric)}',
        f'r["window"] == {flux_text(wanted.window)}',
        f'r["_field"] == {flux_text(wanted.field)}',
        *(f"r[{flux_text(tag_name(name))}] == {flux_text(portable(value))}" for name, value in wanted.given.items()),
        *(f"r[{flux_text(tag_name(name))}] =~ {_chosen(variable)}" for name, variable in wanted.free.items()),
    ]
    return _flux_where(conditions)


def _flux_of_alerts() -> str:
    return _flux_where([f'r["_measurement"] == {flux_text(ALERTS)}', 'r["_field"] == "why"'])


def _flux_where(conditions: Sequence[str]) -> str:
    return f"""from(bucket: v.defaultBucket)
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => {" and ".join(conditions)})"""


def _influxql(selected: str, wanted: Wanted) -> str:
    conditions = [
        f'"window" = {influxql_text(wanted.window)}',
        *(
            f"{influxql_name(tag_name(name))} = {influxql_text(portable(value))}"
            for name, value in wanted.given.items()
        ),
        *(f"{influxql_name(tag_name(name))} =~ {_chosen(variable)}" for name, variable in wanted.free.items()),
        "$timeFilter",
    ]
    return f"SELECT {selected} FROM {influxql_name(wanted.metric)} WHERE {' AND '.join(conditions)}"


def _chosen(variable: str) -> str:
    """Whatever is chosen of a variable's values, as a regular expression that Grafana fills in."""
    return f"/^${{{variable}:regex}}$/"
