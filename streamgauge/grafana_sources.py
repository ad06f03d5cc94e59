"""Grafana's provisioning: its data sources, and where it finds the dashboards. No secret is in these files."""

from __future__ import annotations

import hashlib
import json

from sinks.influx_tiers import Tier
from stream.catalog import Catalog
from streamgauge.grafana_queries import Language

MADE = "Made by `streamgauge grafana`"
"""What every file says that was written by it, and so may be written over."""
DASHBOARDS = "/var/lib/grafana/dashboards"
_CALLED = {
    Tier.RAW: "windows under an hour",
    Tier.HOURLY: "windows under a day",
    Tier.DAILY: "windows of a day and more",
}
_SETTINGS = {Tier.RAW: "INFLUX_BUCKET", Tier.HOURLY: "INFLUX_BUCKET_HOURLY", Tier.DAILY: "INFLUX_BUCKET_DAILY"}


def uid_of(catalog: Catalog, name: str) -> str:
    """The same for the same thing of the same platform, whenever and wherever it is made."""
    digest = hashlib.sha256(f"{catalog.platform.name}\0{name}".encode()).hexdigest()
    return f"streamgauge-{digest[:20]}"


def source_of(catalog: Catalog, tier: Tier) -> dict[str, str]:
    """A data source as panels refer to it."""
    return {"type": "influxdb", "uid": uid_of(catalog, f"source {tier.called}")}


def sources_yaml(catalog: Catalog, language: Language, *, one_bucket: bool) -> str:
    """A data source for each bucket, with `${INFLUX_…}` for what Grafana finds in its own environment."""
    settings = dict.fromkeys(Tier, _SETTINGS[Tier.RAW]) if one_bucket else _SETTINGS
    needed = list(dict.fromkeys(["INFLUX_URL", "INFLUX_TOKEN", "INFLUX_ORG", *settings.values()]))
    if language is Language.INFLUXQL:
        needed.remove("INFLUX_ORG")
    lines = [
        f"# {MADE}: another run writes over it.",
        f"# Grafana's environment has to have {', '.join(needed)}.",
        "apiVersion: 1",
        "datasources:",
    ]
    for tier in Tier:
        lines += [
            f"  - name: {_text(f'{catalog.platform.name}, {_CALLED[tier]}')}",
            f"    uid: {source_of(catalog, tier)['uid']}",
            "    type: influxdb",
            "    access: proxy",
            '    url: "${INFLUX_URL}"',
            "    editable: false",
            "    jsonData:",
        ]
        bucket = f'"${{{settings[tier]}}}"'
        if language is Language.FLUX:
            lines += [
                "      version: Flux",
                '      organization: "${INFLUX_ORG}"',
                f"      defaultBucket: {bucket}",
                "    secureJsonData:",
                '      token: "${INFLUX_TOKEN}"',
            ]
        else:
            lines += [
                "      version: InfluxQL",
                f"      dbName: {bucket}",
                "      httpMode: POST",
                "      httpHeaderName1: Authorization",
                "    secureJsonData:",
                '      httpHeaderValue1: "Token ${INFLUX_TOKEN}"',
            ]
    return "\n".join(lines) + "\n"


def dashboards_yaml(catalog: Catalog, path: str) -> str:
    """Where Grafana finds the dashboards."""
    return f"""# {MADE}: another run writes over it.
apiVersion: 1
providers:
  - name: {_text(f"streamgauge, {catalog.platform.name}")}
    folder: {_text(catalog.platform.name)}
    type: file
    disableDeletion: false
    allowUiUpdates: false
    updateIntervalSeconds: 30
    options:
      path: {_text(path)}
"""


def _text(text: str) -> str:
    """A string of YAML, in which Grafana would take `$` for a variable."""
    return json.dumps(text, ensure_ascii=False).replace("$", "$$")
