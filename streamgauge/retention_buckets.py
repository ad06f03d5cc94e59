"""For how long InfluxDB keeps what is in its buckets: what the catalog's `keep.bucket` says, set where it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain import bucket_retention_rules
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError, LocationValueError

from sinks.errors import Misconfigured, Retryable
from stream.catalog import Catalog
from streamgauge.influx_places import kept_ms, place_of
from streamgauge.settings import Settings

# Without types, whatever the package says of itself.
_BucketRetentionRules: Any = bucket_retention_rules.BucketRetentionRules

NO_BUCKETS = "the server has no buckets of InfluxDB 2, so what it keeps is set there"


def wanted(catalog: Catalog, settings: Settings) -> dict[str, int]:
    """Each bucket with the seconds that it keeps: as long as any of what is in it deserves. Raises `Misconfigured`."""
    return {bucket: kept_ms(catalog, tiers) // 1_000 for bucket, tiers in place_of(settings).tiers.items()}


def bucket_changes(catalog: Catalog, settings: Settings, *, dry_run: bool) -> Iterator[tuple[str, int, int, str]]:
    """Each bucket: the seconds that it kept (0: all), those that it is to keep and, but for a dry run, keeps now; and a
    note where there is nothing that could be set. Raises `Misconfigured` and `Retryable`."""
    place = place_of(settings)
    url = place.url
    try:
        with InfluxDBClient(url, place.token, org=place.org, timeout=30_000, retries=False) as client:
            api = client.buckets_api()
            for name, wanted_s in wanted(catalog, settings).items():
                bucket = _bucket(api, name, url)
                if bucket is None:
                    yield name, 0, wanted_s, NO_BUCKETS
                    continue
                has_s = next((rule.every_seconds for rule in bucket.retention_rules or () if rule.every_seconds), 0)
                if has_s != wanted_s and not dry_run:
                    bucket.retention_rules = [_BucketRetentionRules(type="expire", every_seconds=wanted_s)]
                    api.update_bucket(bucket)
                yield name, has_s, wanted_s, ""
    except ApiException as error:
        text = f"{url} answered {error.status}: {_message(error) or error.reason or 'no message'}"
        if error.status in (401, 403):
            raise Misconfigured(f"{text}. INFLUX_TOKEN has to be one that may read and write buckets") from error
        raise Retryable(text) from error
    except (HTTPError, LocationValueError, OSError) as error:
        raise Retryable(f"{url}: {error}") from error


def _bucket(api: Any, name: str, url: str) -> Any:
    """The bucket of that name; None for a server that knows no buckets."""
    try:
        found = api.find_buckets(name=name).buckets
    except ApiException as error:
        if error.status in (400, 404, 405) and _message(error) is None:
            return None
        if error.status != 404:
            raise
        found = []
    if not found:
        raise Misconfigured(
            f"{url} has no bucket {name}, or INFLUX_TOKEN may not see it: `streamgauge influx bootstrap` makes it"
        )
    return found[0]


def _message(error: ApiException) -> str | None:
    """What InfluxDB 2 says; None for an answer that is not of its kind."""
    try:
        said = json.loads(error.body or "")
    except ValueError:
        return None
    return str(said["message"]) if isinstance(said, dict) and "message" in said else None
