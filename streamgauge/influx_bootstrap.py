"""`streamgauge influx bootstrap`: the organisation, buckets and token that a catalog needs in InfluxDB 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import influxdb_client
from influxdb_client.rest import ApiException

from sinks.errors import Misconfigured
from stream.catalog import Catalog
from streamgauge.influx_places import InfluxPlace, kept_ms, shown_duration
from streamgauge.influx_server import Kind, Server, answers

TOKEN_SETTING = "INFLUX_ADMIN_TOKEN"
_DOING = "this: it takes an operator's, or one that may read and write organisations, buckets and authorisations"
_ACTIONS = ("read", "write")
_RETENTION_POLICY = "autogen"
"""What InfluxDB 1 calls the retention policy that a database begins with."""

_domain: Any = influxdb_client
"""Its classes have no types of their own."""

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    changes: int
    """How many things were made or corrected, or would be."""
    token: str | None
    """The new token, if one was made: InfluxDB never shows it again."""


def needs_no_buckets(server: Server, place: InfluxPlace, catalog: Catalog) -> str:
    """What to do in place of this where the server is no InfluxDB 2."""
    kept = {bucket: kept_ms(catalog, tiers) // 3_600_000 for bucket, tiers in place.tiers.items()}
    if server.kind is Kind.INFLUX1:
        made = "; ".join(f'CREATE DATABASE "{bucket}" WITH DURATION {hours}h' for bucket, hours in kept.items())
        return f"it has databases in place of buckets. Make them: {made}. INFLUX_TOKEN is then user:password"
    if server.kind is Kind.INFLUX3:
        made = "; ".join(f"influxdb3 create database --retention-period {h}h {bucket}" for bucket, h in kept.items())
        return f"it has databases in place of buckets. Make them: {made}; and a token: influxdb3 create token"
    if server.kind is Kind.VICTORIA:
        return (
            "it has no buckets and needs none: set INFLUX_URL alone. How long it keeps points is its own option "
            f"-retentionPeriod={max(kept.values())}h, and -dedup.minScrapeInterval=1ms lets corrections overwrite"
        )
    return "it does not look like any server that streamgauge knows. INFLUX_URL names the server itself, without a path"


def bootstrap(
    client: Any,
    place: InfluxPlace,
    catalog: Catalog,
    tell: Told,
    *,
    dry_run: bool = False,
    new_token: bool = False,
) -> Outcome:
    """Make what is missing, correct what differs, and tell of each in a line. A second run changes nothing.

    Raises SinkError; what was made until then stays, and the next run goes on from there.
    """
    with answers(place, TOKEN_SETTING, _DOING):
        return _Bootstrap(client, place, catalog, tell, dry_run).run(new_token)


class _Bootstrap:
    def __init__(self, client: Any, place: InfluxPlace, catalog: Catalog, tell: Told, dry_run: bool) -> None:
        self._client = client
        self._place = place
        self._catalog = catalog
        self._tell = tell
        self._dry_run = dry_run
        self._changes = 0

    def run(self, new_token: bool) -> Outcome:
        org = self._organisation()
        buckets = [self._bucket(org, name) for name in self._place.tiers]
        for name, bucket in zip(self._place.tiers, buckets, strict=True):
            self._mapping(org, name, bucket)
        token = self._token(org, buckets, new_token)
        return Outcome(self._changes, token)

    def _change(self, done: str, would: str) -> bool:
        """Whether to do it: not in a dry run."""
        self._changes += 1
        self._tell(f"would {would}" if self._dry_run else done)
        return not self._dry_run

    def _organisation(self) -> Any:
        name = self._place.org
        api = self._client.organizations_api()
        try:
            found = [org for org in api.find_organizations(org=name) if org.name == name]
        except ApiException as error:
            if error.status != 404:
                raise
            found = []
        if found:
            self._tell(f"organisation {name}: is there")
            return found[0]
        if self._change(f"organisation {name}: made", f"make the organisation {name}"):
            return api.create_organization(name=name)
        return None

    def _bucket(self, org: Any, name: str) -> Any:
        """None where there is none yet, in a dry run."""
        api = self._client.buckets_api()
        tiers = self._place.tiers[name]
        wanted_s = kept_ms(self._catalog, tiers) // 1000
        wanted = shown_duration(wanted_s * 1000)
        found = [] if org is None else api.find_buckets(name=name, org_id=org.id).buckets
        if not found:
            if self._change(f"bucket {name}: made, keeps {wanted}", f"make the bucket {name}, which keeps {wanted}"):
                assert org is not None
                about = f"streamgauge, {self._catalog.platform.name}: {', '.join(tier.called for tier in tiers)}"
                rules = _domain.BucketRetentionRules(type="expire", every_seconds=wanted_s)
                return api.create_bucket(bucket_name=name, org=org, retention_rules=rules, description=about)
            return None
        [bucket] = found
        has_s = bucket_keeps_s(bucket)
        if has_s == wanted_s:
            self._tell(f"bucket {name}: is there, keeps {wanted}")
        else:
            goes = "" if has_s and has_s < wanted_s else "; what is older goes"
            has = shown_duration(has_s * 1000)
            if self._change(
                f"bucket {name}: kept {has}, keeps {wanted} now{goes}",
                f"have the bucket {name} keep {wanted} in place of {has}{goes}",
            ):
                bucket.retention_rules = [_domain.BucketRetentionRules(type="expire", every_seconds=wanted_s)]
                bucket = api.update_bucket(bucket)
        return bucket

    def _mapping(self, org: Any, name: str, bucket: Any) -> None:
        """InfluxQL asks for a database: of the bucket's name. InfluxDB 2 mostly has that by itself."""
        service = _domain.DBRPsService(self._client.api_client)
        known: list[Any] = []
        if org is not None and bucket is not None:
            known = service.get_dbr_ps(org_id=org.id, bucket_id=bucket.id).content or []
        if bucket is None or any(one.database == name and (one.default or one.virtual) for one in known):
            return
        if self._change(f"database {name} for InfluxQL: made", f"make the database {name} for InfluxQL"):
            assert org is not None
            service.post_dbrp(
                dbrp_create=_domain.DBRPCreate(
                    org_id=org.id,
                    bucket_id=bucket.id,
                    database=name,
                    retention_policy=_RETENTION_POLICY,
                    default=True,
                )
            )

    def _token(self, org: Any, buckets: list[Any], new_token: bool) -> str | None:
        called = f"streamgauge: {self._catalog.platform.name}"
        ids = [bucket.id for bucket in buckets if bucket is not None]
        wanted = {(action, one) for action in _ACTIONS for one in ids}
        api = self._client.authorizations_api()
        same = []
        if org is not None:
            same = [one for one in api.find_authorizations(org_id=org.id) if one.description == called]
        whole = len(ids) == len(buckets)
        fits = [one for one in same if whole and one.status == "active" and set(_rights(one)) == wanted]
        if fits and not new_token:
            self._tell(f"token {called!r}: is there; what it is, InfluxDB told whoever made it (--new-token: another)")
            return None
        rest = f"; {len(same)} older of that name can be deleted once nothing uses them" if same else ""
        may = "may read and write these buckets and nothing else"
        if not self._change(f"token {called!r}: made, {may}{rest}", f"make a token {called!r} that {may}{rest}"):
            return None
        assert org is not None
        permissions = [
            _domain.Permission(
                action=action, resource=_domain.PermissionResource(type="buckets", id=one, org_id=org.id)
            )
            for one in ids
            for action in _ACTIONS
        ]
        made = api.create_authorization(
            authorization=_domain.Authorization(org_id=org.id, description=called, permissions=permissions)
        )
        if not made.token:
            raise Misconfigured(f"InfluxDB at {self._place.url} made a token and did not say what it is")
        return str(made.token)


def bucket_keeps_s(bucket: Any) -> int:
    """How long a bucket keeps what is in it; 0: for good."""
    return next((rule.every_seconds for rule in bucket.retention_rules or () if rule.every_seconds), 0)


def _rights(authorization: Any) -> Iterator[tuple[str, str | None]]:
    for permission in authorization.permissions or ():
        # What is not about one bucket has no id here, and so fits nothing that is wanted.
        bucket = permission.resource.id if permission.resource.type == "buckets" else None
        yield permission.action, bucket
