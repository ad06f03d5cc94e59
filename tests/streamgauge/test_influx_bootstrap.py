from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.engines import Influx1, VictoriaMetrics, get
from tests.influx2_api import Influx2, influx2, influx18
from tests.ports import free_port
from tests.streamgauge.conftest import CATALOG, Command
from tests.streamgauge.influx_engines import influx1, server, victoria_metrics

__all__ = ["influx1", "server", "victoria_metrics"]

DAY_S = 86_400
BUCKETS = {"streamgauge": 90, "streamgauge_hourly": 365, "streamgauge_daily": 1095}


def of(made: Influx2, **settings: str) -> dict[str, str]:
    return {"INFLUX_URL": made.url, "INFLUX_ADMIN_TOKEN": made.operator} | settings


def settings_in(stdout: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in stdout.splitlines())


def test_everything_is_made_and_the_settings_are_printed(verb: Command, catalog_path: Path, server: Influx2) -> None:
    done = verb("influx", "bootstrap", "-c", catalog_path, **of(server))
    assert done.returncode == 0, done.stderr
    assert {one["name"]: server.keeps_s(one["name"]) for one in server.buckets.values()} == {
        name: days * DAY_S for name, days in BUCKETS.items()
    }
    [token] = server.authorizations.values()
    printed = settings_in(done.stdout)
    assert printed == {
        "INFLUX_URL": server.url,
        "INFLUX_ORG": "streamgauge",
        "INFLUX_BUCKET": "streamgauge",
        "INFLUX_BUCKET_HOURLY": "streamgauge_hourly",
        "INFLUX_BUCKET_DAILY": "streamgauge_daily",
        "INFLUX_TOKEN": token["token"],
    }
    assert server.operator not in done.stdout + done.stderr
    assert "5 things done" in done.stderr


def test_the_token_may_use_these_buckets_and_nothing_else(verb: Command, catalog_path: Path, server: Influx2) -> None:
    assert verb("influx", "bootstrap", "-c", catalog_path, **of(server)).returncode == 0
    [org] = server.orgs.values()
    [token] = server.authorizations.values()
    assert token["description"] == "streamgauge: Shop"
    assert sorted((one["action"], one["resource"]["id"]) for one in token["permissions"]) == sorted(
        (action, bucket) for action in ("read", "write") for bucket in server.buckets
    )
    assert {(one["resource"]["type"], one["resource"]["orgID"]) for one in token["permissions"]} == {
        ("buckets", org["id"])
    }
    # What was made is enough for the processor's settings to be checked with.
    checked = verb(
        "influx", "check", "-c", catalog_path, **settings_in(
            verb("influx", "bootstrap", "-c", catalog_path, "--new-token", **of(server)).stdout
        )
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_second_run_changes_nothing_and_says_so(verb: Command, catalog_path: Path, server: Influx2) -> None:
    first = verb("influx", "bootstrap", "-c", catalog_path, **of(server))
    before = list(server.changes)
    second = verb("influx", "bootstrap", "-c", catalog_path, **of(server))
    assert second.returncode == 0
    assert server.changes == before
    assert "nothing to do: all is there" in second.stderr
    assert settings_in(first.stdout)["INFLUX_TOKEN"] not in second.stdout + second.stderr
    assert "INFLUX_TOKEN" not in second.stdout


@pytest.mark.parametrize("made_before", [False, True])
def test_a_dry_run_says_what_it_would_do_and_changes_nothing(
    verb: Command, catalog_path: Path, server: Influx2, made_before: bool
) -> None:
    if made_before:
        verb("influx", "bootstrap", "-c", catalog_path, **of(server))
        server.bucket("streamgauge")["retentionRules"] = [{"type": "expire", "everySeconds": 400 * DAY_S}]
    before = list(server.changes)
    done = verb("influx", "bootstrap", "-c", catalog_path, "--dry-run", "--token-file", "t", **of(server))
    assert done.returncode == 0, done.stderr
    assert server.changes == before
    assert done.stdout == ""
    if made_before:
        assert "would have the bucket streamgauge keep 90 d in place of 400 d; what is older goes" in done.stderr
        assert "1 thing to do; nothing was changed" in done.stderr
    else:
        assert "would make the organisation streamgauge" in done.stderr
        assert "would make the bucket streamgauge_daily, which keeps 1,095 d" in done.stderr
        assert "would make a token" in done.stderr


def test_how_long_a_bucket_keeps_is_corrected_and_said(verb: Command, tmp_path: Path, server: Influx2) -> None:
    catalog = tmp_path / "kept.toml"
    catalog.write_text(CATALOG)
    verb("influx", "bootstrap", "-c", catalog, **of(server))
    catalog.write_text(f'{CATALOG}\n[keep.bucket]\nraw = "36h"\nhourly = "730d"\n')
    server.bucket("streamgauge_daily")["retentionRules"] = []
    done = verb("influx", "bootstrap", "-c", catalog, **of(server))
    assert done.returncode == 0, done.stderr
    assert [server.keeps_s(name) for name in BUCKETS] == [36 * 3600, 730 * DAY_S, 1095 * DAY_S]
    assert "bucket streamgauge: kept 90 d, keeps 36 h now; what is older goes" in done.stderr
    assert "bucket streamgauge_hourly: kept 365 d, keeps 730 d now\n" in done.stderr
    assert "bucket streamgauge_daily: kept for good, keeps 1,095 d now; what is older goes" in done.stderr
    assert len(server.authorizations) == 1


def test_buckets_of_other_names_and_two_kinds_of_windows_in_one(
    verb: Command, catalog_path: Path, server: Influx2
) -> None:
    names = {"INFLUX_ORG": "acme", "INFLUX_BUCKET": "shop", "INFLUX_BUCKET_HOURLY": "shop", "INFLUX_BUCKET_DAILY": "d"}
    done = verb("influx", "bootstrap", "-c", catalog_path, **of(server, **names))
    assert done.returncode == 0, done.stderr
    # As long as the longer of the two deserves.
    assert {one["name"]: server.keeps_s(one["name"]) for one in server.buckets.values()} == {
        "shop": 365 * DAY_S,
        "d": 1095 * DAY_S,
    }
    assert [org["name"] for org in server.orgs.values()] == ["acme"]


def test_buckets_that_were_renamed_get_a_token_of_their_own(verb: Command, catalog_path: Path, server: Influx2) -> None:
    verb("influx", "bootstrap", "-c", catalog_path, **of(server))
    done = verb("influx", "bootstrap", "-c", catalog_path, **of(server, INFLUX_BUCKET_DAILY="days"))
    assert len(server.authorizations) == 2
    assert "1 older of that name can be deleted once nothing uses them" in done.stderr


def test_the_token_goes_to_a_file_for_its_owner_alone(
    verb: Command, catalog_path: Path, tmp_path: Path, server: Influx2
) -> None:
    done = verb("influx", "bootstrap", "-c", catalog_path, "--token-file", tmp_path / "token", **of(server))
    [token] = server.authorizations.values()
    assert (tmp_path / "token").read_text() == f"{token['token']}\n"
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert token["token"] not in done.stdout + done.stderr
    again = verb("influx", "bootstrap", "-c", catalog_path, "--token-file", tmp_path / "token", **of(server))
    assert again.returncode == 1
    assert "is there already" in again.stderr


def test_a_token_whose_file_cannot_be_written_is_not_lost(
    verb: Command, catalog_path: Path, tmp_path: Path, server: Influx2
) -> None:
    done = verb("influx", "bootstrap", "-c", catalog_path, "--token-file", tmp_path / "no" / "token", **of(server))
    [token] = server.authorizations.values()
    assert settings_in(done.stdout)["INFLUX_TOKEN"] == token["token"]
    assert "No such file or directory" in done.stderr


def test_databases_for_influxql_are_made_where_the_server_does_not_do_so(verb: Command, catalog_path: Path) -> None:
    with influx2(virtual=False) as server:
        done = verb("influx", "bootstrap", "-c", catalog_path, **of(server))
        assert done.returncode == 0, done.stderr
        assert {(one["database"], one["default"]) for one in server.dbrps.values()} == {(n, True) for n in BUCKETS}
        before = list(server.changes)
        assert verb("influx", "bootstrap", "-c", catalog_path, **of(server)).returncode == 0
        assert server.changes == before


def test_a_token_that_may_not_is_said_and_not_printed(verb: Command, catalog_path: Path, server: Influx2) -> None:
    made = settings_in(verb("influx", "bootstrap", "-c", catalog_path, **of(server)).stdout)
    for token in ("wrong-and-secret", made["INFLUX_TOKEN"]):
        settings = of(server, INFLUX_ADMIN_TOKEN=token, INFLUX_ORG="another")
        done = verb("influx", "bootstrap", "-c", catalog_path, **settings)
        assert done.returncode == 78, done.stderr
        assert "401" in done.stderr
        assert "INFLUX_ADMIN_TOKEN" in done.stderr
        assert token not in done.stdout + done.stderr
    assert len(server.orgs) == 1


@pytest.mark.parametrize(("missing", "names"), [("INFLUX_URL", "INFLUX_URL"), ("INFLUX_ADMIN_TOKEN", "ADMIN_TOKEN")])
def test_what_is_not_set_is_named(verb: Command, catalog_path: Path, server: Influx2, missing: str, names: str) -> None:
    settings = {name: value for name, value in of(server).items() if name != missing}
    done = verb("influx", "bootstrap", "-c", catalog_path, **settings)
    assert done.returncode == 78
    assert f"{names} is not set" in done.stderr


def test_a_server_that_is_away_is_no_fault_of_the_settings(verb: Command, catalog_path: Path) -> None:
    settings = {"INFLUX_URL": f"http://127.0.0.1:{free_port()}", "INFLUX_ADMIN_TOKEN": "x"}
    done = verb("influx", "bootstrap", "-c", catalog_path, **settings)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr


def test_influxdb_1_is_told_from_influxdb_2(verb: Command, catalog_path: Path, influx1: Influx1) -> None:
    with influx18(influx1.direct_url) as url:
        done = verb("influx", "bootstrap", "-c", catalog_path, INFLUX_URL=url, INFLUX_ADMIN_TOKEN="x")
    assert done.returncode == 78
    assert "InfluxDB 1 1.6" in done.stderr
    made = done.stderr.partition("Make them: ")[2].partition(". INFLUX_TOKEN")[0]
    # What it says to do does what is wanted.
    for statement in made.split("; "):
        assert influx1.rows("_internal", statement) == []
    found = get(f"{influx1.direct_url}/query", q='SHOW RETENTION POLICIES ON "streamgauge_daily"')
    [[name, kept, *_]] = found["results"][0]["series"][0]["values"]
    assert (name, kept) == ("autogen", f"{1095 * 24}h0m0s")
    for name in BUCKETS:
        influx1.rows("_internal", f'DROP DATABASE "{name}"')


def test_victoria_metrics_is_told_from_influxdb(
    verb: Command, catalog_path: Path, victoria_metrics: VictoriaMetrics
) -> None:
    settings = {"INFLUX_URL": victoria_metrics.url, "INFLUX_ADMIN_TOKEN": "x"}
    done = verb("influx", "bootstrap", "-c", catalog_path, **settings)
    assert done.returncode == 78
    assert "VictoriaMetrics" in done.stderr
    assert "has no buckets and needs none" in done.stderr
