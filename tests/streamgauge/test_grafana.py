from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from sinks.influx_tiers import Tier
from streamgauge.grafana import make
from streamgauge.grafana_queries import Language
from streamgauge.grafana_sources import source_of
from streamgauge.influx_places import written_metrics, written_windows
from tests.engines import Influx1, get
from tests.flux import Written, ask
from tests.streamgauge.conftest import Command
from tests.streamgauge.influx_engines import influx1
from tests.streamgauge.written import EVERY, Filled, catalogs, fill

__all__ = ["influx1"]

Json = dict[str, Any]
_END_MS = 4_000_000_000_000


class _AsNeeded(dict[str, Filled]):
    """Each catalog's points are worked out when a test asks for them first."""

    def __init__(self, make_one: Callable[[str], Filled]) -> None:
        super().__init__()
        self._make_one = make_one

    def __missing__(self, name: str) -> Filled:
        self[name] = self._make_one(name)
        return self[name]


@pytest.fixture(scope="module")
def filled(influx1: Influx1, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Filled]:
    texts = catalogs()
    return _AsNeeded(lambda name: fill(name, texts[name], tmp_path_factory.mktemp(name), influx1))


@dataclass(frozen=True)
class Asked:
    """A question of a dashboard, and where it is asked."""

    dashboard: str
    panel: str
    source: str
    text: str


def dashboards(filled: Filled, language: Language) -> dict[str, Json]:
    files = make(filled.catalog, language, one_bucket=False, dashboards_path="/d").files
    return {name: json.loads(text) for name, text in files.items() if name.endswith(".json")}


def panels_of(dashboard: Json) -> Iterator[Json]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def questions(name: str, dashboard: Json) -> Iterator[Asked]:
    for panel in panels_of(dashboard):
        for target in panel.get("targets", ()):
            assert target["datasource"] == panel["datasource"]
            yield Asked(name, panel["title"], target["datasource"]["uid"], target["query"])
    for annotation in dashboard["annotations"]["list"]:
        yield Asked(name, annotation["name"], annotation["target"]["datasource"]["uid"], annotation["target"]["query"])
    for variable in dashboard["templating"]["list"]:
        yield Asked(name, f"${variable['name']}", variable["datasource"]["uid"], variable["query"])


def as_grafana_asks(text: str, **chosen: str) -> str:
    """The text with what Grafana puts in place of its variables; those that are not `chosen` are all."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        return re.sub(r"([\\^$*+?.()|\[\]{}/])", r"\\\1", chosen[name]) if name in chosen else ".*"

    text = re.sub(r"\$\{(\w+):regex\}", value, text)
    text = text.replace("$timeFilter", f"time >= 0ms and time <= {_END_MS}ms")
    text = text.replace("v.timeRangeStart", "1970-01-01T00:00:00Z").replace("v.timeRangeStop", "2096-01-01T00:00:00Z")
    return text.replace("v.defaultBucket", '"here"')


def tiers(filled: Filled) -> dict[str, Tier]:
    return {source_of(filled.catalog, tier)["uid"]: tier for tier in Tier}


def by_influxql(influx1: Influx1, filled: Filled, asked: Asked, **chosen: str) -> list[Json]:
    return influx1.rows(filled.databases[tiers(filled)[asked.source]], as_grafana_asks(asked.text, **chosen))


def by_flux(filled: Filled, asked: Asked, **chosen: str) -> list[Json]:
    rows: list[Written] = filled.rows[tiers(filled)[asked.source]]
    return [row for table in ask(as_grafana_asks(asked.text, **chosen), {"here": rows}) for row in table.rows]


@pytest.mark.parametrize("name", catalogs())
def test_every_question_of_every_dashboard_has_an_answer_the_same_in_both_languages(
    name: str, filled: dict[str, Filled], influx1: Influx1
) -> None:
    of = filled[name]
    flux, influxql = dashboards(of, Language.FLUX), dashboards(of, Language.INFLUXQL)
    assert flux.keys() == influxql.keys()
    asked = 0
    for file in flux:
        pairs = zip(questions(file, flux[file]), questions(file, influxql[file]), strict=True)
        for in_flux, in_influxql in pairs:
            assert (in_flux.panel, in_flux.source) == (in_influxql.panel, in_influxql.source)
            rows = by_flux(of, in_flux)
            twins = by_influxql(influx1, of, in_influxql)
            assert rows, in_flux
            assert twins, in_influxql
            if in_flux.panel.startswith("$"):
                assert {row["_value"] for row in rows} == {row["value"] for row in twins}, in_flux
            elif "_measurement" in rows[0]:
                # InfluxQL answers the tags that it groups by, Flux all.
                tags = {name for name in twins[0] if name not in _NO_TAGS} - {_value_column(in_influxql)}
                assert Counter(_row(row, "_time", "_value", tags) for row in rows) == Counter(
                    _row(row, "time", _value_column(in_influxql), tags) for row in twins
                ), in_flux
            asked += 1
    assert asked >= len(written_metrics(of.catalog))


def _value_column(asked: Asked) -> str:
    [column] = re.findall(r'^SELECT (?:last\()?"([^"]+)"', asked.text)
    return column


_NO_TAGS = ("time", "measurement")


def _row(row: Json, time: str, value: str, tags: set[str]) -> tuple[Any, ...]:
    return row[time], float(row[value]), tuple(sorted((tag, row[tag]) for tag in tags))


def test_the_largest_come_first_and_no_more_than_asked_for(filled: dict[str, Filled], influx1: Influx1) -> None:
    of = filled["every"]
    [panel] = [p for p in panels_of(dashboards(of, Language.FLUX)["dashboards/board-overview.json"])
               if p["type"] == "bargauge"]  # fmt: skip
    [question] = [Asked("", "", t["datasource"]["uid"], t["query"]) for t in panel["targets"]]
    rows = by_flux(of, question)
    assert len(rows) == 3
    assert [row["_value"] for row in rows] == sorted((row["_value"] for row in rows), reverse=True)
    assert rows[0].keys() == {"pay method", "window_", "geo.city", "_value"}
    organised = panel["transformations"][-1]["options"]["renameByName"]
    assert organised["window_"] == "window"


@pytest.mark.parametrize("language", Language)
def test_one_value_of_a_variable_is_that_one_alone(
    language: Language, filled: dict[str, Filled], influx1: Influx1
) -> None:
    of = filled["every"]
    dashboard = dashboards(of, language)["dashboards/overview.json"]
    [asked] = [one for one in questions("", dashboard) if one.panel == "All mean, 1m"]
    [variable] = [one["name"] for one in dashboard["templating"]["list"] if one["label"] == "country"]
    for value in ("DE", "a/b (x)"):
        rows = by_flux(of, asked, **{variable: value}) if language is Language.FLUX else by_influxql(
            influx1, of, asked, **{variable: value}
        )  # fmt: skip
        assert {row["country"] for row in rows} == {value}


@pytest.mark.parametrize("name", catalogs())
def test_what_is_written_is_named_and_nothing_else(name: str, filled: dict[str, Filled]) -> None:
    """Measurements, tags and fields of every question, held against all that there are."""
    of = filled[name]
    for file, dashboard in dashboards(of, Language.FLUX).items():
        for asked in questions(file, dashboard):
            known = of.rows[tiers(of)[asked.source]]
            [measurement] = re.findall(r'"_measurement"\] == "(\w+)"', asked.text) or [None]
            if measurement is None:
                continue
            same = [row for row in known if row.measurement == measurement]
            fields = {name for row in same for name in row.fields}
            tags = {tag for row in same for tag, _ in row.tags}
            assert set(re.findall(r'"_field"\] == "([^"]+)"', asked.text)) <= fields, asked
            assert set(re.findall(r'r\["([^"_][^"]*)"\]', asked.text)) <= tags, asked


@pytest.mark.parametrize("name", catalogs())
def test_the_overview_has_every_metric_in_every_window(name: str, filled: dict[str, Filled]) -> None:
    of = filled[name]
    dashboard = dashboards(of, Language.FLUX)["dashboards/overview.json"]
    pattern = r'"_measurement"\] == "(\w+)" and r\["window"\] == "([^"]+)"'
    asked = [(found[1], found[2]) for one in questions("", dashboard) if (found := re.search(pattern, one.text))]
    expected = {(metric.name, window) for metric in written_metrics(of.catalog) for window in written_windows(metric)}
    assert set(asked) == expected
    assert {(point.metric, point.window) for point in of.points if point.metric != "top_pages"} >= expected


@pytest.mark.parametrize("name", catalogs())
@pytest.mark.parametrize("language", Language)
def test_grafana_can_make_something_of_the_files(name: str, language: Language, filled: dict[str, Filled]) -> None:
    of = filled[name]
    made = make(of.catalog, language, one_bucket=False, dashboards_path="/d")
    assert made == make(of.catalog, language, one_bucket=False, dashboards_path="/d"), "the same, to the byte"
    sources = yaml.safe_load(made.files["provisioning/datasources/streamgauge.yaml"])["datasources"]
    provider = yaml.safe_load(made.files["provisioning/dashboards/streamgauge.yaml"])["providers"][0]
    assert provider["options"] == {"path": "/d"}
    assert provider["folder"].replace("$$", "$") == of.catalog.platform.name
    uids = {source["uid"] for source in sources}
    assert len(uids) == len({source["name"] for source in sources}) == 3
    seen = set()
    for dashboard in dashboards(of, language).values():
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", dashboard["uid"])
        seen.add(dashboard["uid"])
        assert dashboard["id"] is None
        assert dashboard["schemaVersion"] >= 39
        panels = list(panels_of(dashboard))
        assert panels
        ids = [panel["id"] for panel in panels]
        assert len(set(ids)) == len(ids)
        names = {variable["name"] for variable in dashboard["templating"]["list"]}
        assert len(names) == len(dashboard["templating"]["list"])
        assert all(re.fullmatch(r"\w+", one) and not one.startswith("__") for one in names)
        for asked in questions("", dashboard):
            assert asked.source in uids
            assert set(re.findall(r"\$\{(\w+):regex\}", asked.text)) <= names
        for panel in panels:
            place = panel["gridPos"]
            assert place["x"] >= 0
            assert place["w"] > 0
            assert place["x"] + place["w"] <= 24
            assert place["h"] > 0
            refs = [target["refId"] for target in panel.get("targets", ())]
            assert len(set(refs)) == len(refs)
            assert panel["type"] == "row" or refs
            for step in panel.get("fieldConfig", {}).get("defaults", {}).get("thresholds", {}).get("steps", ())[1:]:
                assert step["value"] is not None
        _assert_apart([panel["gridPos"] for panel in dashboard["panels"]])
        for row in dashboard["panels"]:
            _assert_apart([panel["gridPos"] for panel in row.get("panels", ())])
    assert len(seen) == len(dashboards(of, language))


def _assert_apart(places: list[Json]) -> None:
    cells = Counter(
        (x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])
    )
    assert not cells or max(cells.values()) == 1


def test_no_secret_is_in_a_file(verb: Command, tmp_path: Path) -> None:
    secrets = {"INFLUX_TOKEN": "my-very-secret", "INFLUX_ADMIN_TOKEN": "even-more", "INFLUX_URL": "http://u:pw@h:1"}
    for language in Language:
        assert (
            verb("grafana", "events", "--out", tmp_path / language, "--language", language, **secrets).returncode == 0
        )
    for path in tmp_path.rglob("*.*"):
        if path.is_file():
            assert not any(secret in path.read_text() for secret in secrets.values()), path
    [source, *_] = yaml.safe_load((tmp_path / "flux/provisioning/datasources/streamgauge.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "${INFLUX_URL}"
    assert source["secureJsonData"] == {"token": "${INFLUX_TOKEN}"}
    assert source["jsonData"] == {
        "version": "Flux", "organization": "${INFLUX_ORG}", "defaultBucket": "${INFLUX_BUCKET}"
    }  # fmt: skip


def test_each_data_source_is_of_a_bucket_of_its_own_or_all_of_one(filled: dict[str, Filled]) -> None:
    def buckets(*, one_bucket: bool) -> list[str]:
        made = make(filled["every"].catalog, Language.INFLUXQL, one_bucket=one_bucket, dashboards_path="/d")
        found = yaml.safe_load(made.files["provisioning/datasources/streamgauge.yaml"])["datasources"]
        return [source["jsonData"]["dbName"] for source in found]

    assert buckets(one_bucket=False) == ["${INFLUX_BUCKET}", "${INFLUX_BUCKET_HOURLY}", "${INFLUX_BUCKET_DAILY}"]
    assert buckets(one_bucket=True) == ["${INFLUX_BUCKET}"] * 3


def test_tiles_become_panels_and_what_influxdb_does_not_have_is_named(verb: Command, tmp_path: Path) -> None:
    catalog = tmp_path / "every.toml"
    catalog.write_text(EVERY)
    done = verb("grafana", catalog, "--out", tmp_path / "g")
    assert done.returncode == 0, done.stderr
    board = json.loads((tmp_path / "g/dashboards/board-overview.json").read_text())
    assert [panel["type"] for panel in board["panels"]] == [
        "stat", "stat", "timeseries", "timeseries", "bargauge", "table", "gauge", "status-history", "stat", "table"
    ]  # fmt: skip
    assert done.stderr.splitlines() == [
        "board overview: status 'Status' is left out: what it shows is on the wall and in REST, and not in InfluxDB",
        "board overview: top_k 'All top k' is left out: a top_k is not in InfluxDB",
        "board nothing: top_k 'All top k' is left out: a top_k is not in InfluxDB",
        "board nothing has nothing that is in InfluxDB, and no dashboard",
    ]
    assert not (tmp_path / "g/dashboards/board-nothing.json").exists()
    assert "a top_k is not in InfluxDB" in board["description"]
    [line] = [panel for panel in board["panels"] if panel["title"] == "Ünit" and panel["type"] == "timeseries"]
    assert line["fieldConfig"]["defaults"]["unit"] == "bytes"
    assert [step["value"] for step in line["fieldConfig"]["defaults"]["thresholds"]["steps"]] == [None, 12.5, 100, 200]
    names = [override["properties"][0]["value"] for override in line["fieldConfig"]["overrides"]]
    assert names == ["Ünit", "forecast", "forecast, lower end", "forecast, upper end"]
    [gauge] = [panel for panel in board["panels"] if panel["type"] == "gauge"]
    assert [step["color"] for step in gauge["fieldConfig"]["defaults"]["thresholds"]["steps"]] == [
        "red",
        "orange",
        "green",
    ]
    assert (gauge["fieldConfig"]["defaults"]["min"], gauge["fieldConfig"]["defaults"]["max"]) == (0, 100)


def test_files_of_others_are_left_alone(verb: Command, tmp_path: Path) -> None:
    out = tmp_path / "g"
    assert verb("grafana", "events", "--out", out).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    again = verb("grafana", "events", "--out", out)
    assert "5 of 5 files" in again.stdout or "4 of 4 files" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*")} == before

    own = out / "provisioning/datasources/streamgauge.yaml"
    own.write_text("apiVersion: 1\n")
    (out / "dashboards/overview.json").write_text('{"description": "Made by `streamgauge grafana`."}')
    refused = verb("grafana", "events", "--out", out)
    assert refused.returncode == 1
    assert f"{own}: not made by this command" in refused.stderr
    assert own.read_text() == "apiVersion: 1\n"
    assert len((out / "dashboards/overview.json").read_text()) < 100, "nothing is written when something is in the way"
    assert verb("grafana", "events", "--out", out, "--force").returncode == 0
    assert "datasources:" in own.read_text()

    (out / "dashboards/board-old.json").write_text('{"description": "Made by `streamgauge grafana`."}')
    (out / "dashboards/mine.json").write_text("{}")
    done = verb("grafana", "events", "--out", out)
    assert (
        done.stderr.splitlines()[-1] == f"{out / 'dashboards/board-old.json'} is of no board of this catalog: delete it"
    )


def test_a_language_that_is_none(verb: Command, tmp_path: Path) -> None:
    done = verb("grafana", "events", "--out", tmp_path, "--language", "sql")
    assert done.returncode == 2
    assert "expected one of flux, influxql; found 'sql'" in done.stderr


def test_influxd_itself_refuses_what_is_no_influxql(influx1: Influx1) -> None:
    """Otherwise the test of the questions could not fail."""
    answer = get(f"{influx1.direct_url}/query", db=influx1.new_database(), q='SELECT "value" FROM "nowhere"')
    assert answer == {"results": [{"statement_id": 0}]}
