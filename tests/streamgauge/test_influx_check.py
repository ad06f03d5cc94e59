from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines import Influx1, VictoriaMetrics, get
from tests.influx2_api import Influx2, influx18
from tests.ports import free_port
from tests.streamgauge.conftest import Command
from tests.streamgauge.influx_engines import influx1, server, victoria_metrics

__all__ = ["influx1", "server", "victoria_metrics"]


def ready(verb: Command, catalog: Path, server: Influx2) -> dict[str, str]:
    """The settings of a processor after a bootstrap."""
    done = verb(
        "influx", "bootstrap", "-c", catalog, INFLUX_URL=server.url, INFLUX_ADMIN_TOKEN=server.operator
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_all_is_well_after_a_bootstrap(verb: Command, catalog_path: Path, server: Influx2) -> None:
    settings = ready(verb, catalog_path, server)
    done = verb("influx", "check", "-c", catalog_path, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "InfluxDB 2 2.7.12" in done.stdout
    for bucket, kept in (("streamgauge", "90 d"), ("streamgauge_hourly", "365 d"), ("streamgauge_daily", "1,095 d")):
        assert f"ok     {bucket}: wrote a point of streamgauge_check in " in done.stdout
        assert f"ok     {bucket}: keeps points {kept}, as the catalog says" in done.stdout
    assert done.stdout.count(", read it back in ") == 3
    for rows in server.rows.values():
        [row] = rows
        assert row.measurement == "streamgauge_check"
        assert row.tags == (("platform", "Shop"),)
    assert settings["INFLUX_TOKEN"] not in done.stdout + done.stderr


def test_a_field_that_has_another_type_is_found(verb: Command, catalog_path: Path, server: Influx2) -> None:
    settings = ready(verb, catalog_path, server)
    server.store("streamgauge", "orders,kind=a,window=1m value=3i,count=3i,final=true 1")
    server.store("streamgauge_daily", 'revenue,window=1d value="much" 1')
    server.store("streamgauge_daily", "another,window=1d value=3i 1")
    done = verb("influx", "check", "-c", catalog_path, **settings)
    assert done.returncode == 1
    wrong = [line for line in done.stdout.splitlines() if line.startswith("wrong")]
    assert len(wrong) == 2
    assert wrong[0].startswith(
        "wrong  streamgauge: orders.value is integer, this catalog writes float, which is refused"
    )
    assert wrong[1].startswith("wrong  streamgauge_daily: revenue.value is string, this catalog writes float")


def test_points_that_go_too_early_are_wrong_and_too_late_a_note(
    verb: Command, catalog_path: Path, server: Influx2
) -> None:
    settings = ready(verb, catalog_path, server)
    server.bucket("streamgauge")["retentionRules"] = [{"type": "expire", "everySeconds": 86_400}]
    server.bucket("streamgauge_daily")["retentionRules"] = []
    done = verb("influx", "check", "-c", catalog_path, **settings)
    assert done.returncode == 1
    assert "wrong  streamgauge: keeps points 1 d, the catalog says 90 d" in done.stdout
    assert "note   streamgauge_daily: keeps points for good, the catalog says 1,095 d" in done.stdout


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"INFLUX_TOKEN": "very-wrong"}, "Set INFLUX_TOKEN"),
        ({"INFLUX_BUCKET": "nowhere"}, "`streamgauge influx bootstrap` makes the buckets"),
        ({"INFLUX_URL": ""}, "INFLUX_URL is not set"),
        ({"INFLUX_URL": "localhost:8086"}, "expected one like http://localhost:8086"),
    ],
)
def test_a_setting_that_cannot_work_is_named(
    verb: Command, catalog_path: Path, server: Influx2, changed: dict[str, str], says: str
) -> None:
    settings = ready(verb, catalog_path, server) | changed
    done = verb("influx", "check", "-c", catalog_path, **settings)
    assert done.returncode == 78
    assert says in done.stderr
    assert "very-wrong" not in done.stdout + done.stderr


def test_a_token_that_may_only_read_is_named(verb: Command, catalog_path: Path, server: Influx2) -> None:
    settings = ready(verb, catalog_path, server)
    [token] = server.authorizations.values()
    token["permissions"] = [one for one in token["permissions"] if one["action"] == "read"]
    done = verb("influx", "check", "-c", catalog_path, **settings)
    assert done.returncode == 78
    assert "403" in done.stderr
    assert "INFLUX_TOKEN may not do writing to streamgauge" in done.stderr


def test_a_token_that_may_only_write_is_told_what_could_not_be_read(
    verb: Command, catalog_path: Path, server: Influx2
) -> None:
    settings = ready(verb, catalog_path, server)
    [token] = server.authorizations.values()
    token["permissions"] = [one for one in token["permissions"] if one["action"] == "write"]
    done = verb("influx", "check", "-c", catalog_path, **settings)
    assert done.returncode == 1
    assert "could not read it" in done.stdout


def test_a_server_that_is_away(verb: Command, catalog_path: Path) -> None:
    done = verb("influx", "check", "-c", catalog_path, INFLUX_URL=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr


def test_influxdb_1_is_read_with_influxql(verb: Command, catalog_path: Path, influx1: Influx1) -> None:
    database = influx1.new_database()
    with influx18(influx1.direct_url) as url:
        done = verb("influx", "check", "-c", catalog_path, INFLUX_URL=url, INFLUX_BUCKET=database)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "InfluxDB 1 1.6" in done.stdout
        assert f"ok     {database}: wrote a point" in done.stdout
        assert "read it back in" in done.stdout
        assert f"note   {database}: keeps points for good, the catalog says 1,095 d" in done.stdout
        [row] = influx1.rows(database, "SELECT * FROM streamgauge_check")
        assert row["platform"] == "Shop"

        influx1.write(database, "revenue,window=1d value=true 1442016000000")
        get(
            f"{influx1.direct_url}/query",
            q=f'ALTER RETENTION POLICY autogen ON "{database}" DURATION 48h SHARD DURATION 1h',
        )
        done = verb("influx", "check", "-c", catalog_path, INFLUX_URL=url, INFLUX_BUCKET=database)
    assert done.returncode == 1
    assert f"wrong  {database}: revenue.value is boolean, this catalog writes float" in done.stdout
    assert f"wrong  {database}: keeps points 2 d, the catalog says 1,095 d" in done.stdout


def test_a_database_that_influxdb_1_does_not_have(verb: Command, catalog_path: Path, influx1: Influx1) -> None:
    with influx18(influx1.direct_url) as url:
        done = verb("influx", "check", "-c", catalog_path, INFLUX_URL=url, INFLUX_BUCKET="nowhere")
    assert done.returncode == 78
    assert "database not found" in done.stderr


def test_victoria_metrics_is_read_with_its_export(
    verb: Command, catalog_path: Path, victoria_metrics: VictoriaMetrics
) -> None:
    done = verb("influx", "check", "-c", catalog_path, INFLUX_URL=victoria_metrics.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "VictoriaMetrics" in done.stdout
    assert "read it back in" in done.stdout
