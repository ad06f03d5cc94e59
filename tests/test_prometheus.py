"""The rules for Prometheus that come with the project: valid, of metrics that there are, and with something to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from live_api.delivery.meters import DeliveryMeters
from live_api.meters import HubMeters
from stream.meters import Meters
from streamgauge.settings import Settings
from tests.engines import INSTALL

DEPLOY = Path(__file__).parents[1] / "deploy/prometheus"
_OF_EVERY_CLIENT = {"up", "process_start_time_seconds"}


def _names() -> Iterator[str]:
    for meters in (Meters(), HubMeters(), DeliveryMeters()):
        for family in meters.registry.collect():
            yield family.name
            # Without labels that are known yet a family has no samples, and its names are these.
            yield from (f"{family.name}{ending}" for ending in ("_total", "_count", "_sum", "_bucket"))


def _text() -> str:
    return (DEPLOY / "alerts.yml").read_text()


def test_every_metric_of_the_rules_is_one_of_ours() -> None:
    expressions = re.findall(r"expr: \|\n\s+(.+)", _text())
    assert len(expressions) > 15
    known = set(_names()) | _OF_EVERY_CLIENT
    for expression in expressions:
        used = re.findall(r"\b(?:streamgauge_\w+|up|process_\w+)\b", re.sub(r"\{.*?\}", "", expression))
        assert used, expression
        assert set(used) <= known, expression


def test_every_rule_has_a_page_to_go_to() -> None:
    alerts = re.findall(r"alert: (\w+)", _text())
    page = (DEPLOY.parents[1] / "docs/operations.md").read_text()
    assert re.findall(r"runbook: docs/operations.md#(\w+)", _text()) == [alert.lower() for alert in alerts]
    assert re.findall(r"^### (Streamgauge\w+)\n\n\w+", page, re.MULTILINE) == alerts


def test_every_rule_is_tried_out() -> None:
    tried = (DEPLOY / "alerts_test.yml").read_text()
    for alert in re.findall(r"alert: (\w+)", _text()):
        assert alert in tried, alert


def test_the_parts_are_scraped_where_they_are() -> None:
    text = (DEPLOY / "prometheus.yml").read_text()
    for role in ("processor", "api", "deliver"):
        assert f'"{role}:{Settings().metrics_of(role).port}"' in text


@pytest.mark.parametrize(
    "arguments",
    [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]],
    ids=" ".join,
)
def test_promtool_finds_nothing_wrong(arguments: list[str]) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None, f"promtool is not installed; this test needs it: {INSTALL['promtool']}"
    done = subprocess.run([promtool, *arguments], cwd=DEPLOY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
