"""Every setting that comes from the environment: one declaration each, read once, here."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streamgauge.redaction import REDACTED

EXIT_CONFIGURATION = 78
"""Exit status that tells a supervisor that starting again will not help."""
EXIT_CUT_OFF = 75
"""Exit status of an end that took too long to save all; nothing is lost, and more is read again."""


_KEY_FILE = "person.key"

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class SettingsError(ValueError):
    """A setting that cannot be used. Names the variable, what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class MetricsPlace:
    host: str
    port: int | None
    wanted: bool
    """Whether somebody has said where they are to be, and so relies on it."""
    variable: str
    """What sets the port."""


class Settings(BaseSettings):
    """What a deployment sets. Each name is the variable's, with `STREAMGAUGE_` before it where no alias is given."""

    model_config = SettingsConfigDict(
        env_prefix="STREAMGAUGE_", frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    valkey_url: str | None = Field(None, validation_alias=AliasChoices("VALKEY_URL"))
    """The Valkey server, such as `valkey://host:6379/0`; `up` starts one of its own when this is not set."""
    database_url: str | None = Field(None, validation_alias=AliasChoices("DATABASE_URL"))
    """Where points are kept, as SQLAlchemy writes it: `sqlite:////…`, or `postgresql://user:password@host/database`
    (PostgreSQL, tested with 15; `postgres://` too). Default: SQLite in the state directory."""
    influx_url: str | None = Field(None, validation_alias=AliasChoices("INFLUX_URL"))
    """InfluxDB, or anything that takes its v2 writes; nothing is written when this is not set."""
    influx_token: SecretStr = Field(SecretStr(""), validation_alias=AliasChoices("INFLUX_TOKEN"))
    """Its token."""
    influx_admin_token: SecretStr = Field(SecretStr(""), validation_alias=AliasChoices("INFLUX_ADMIN_TOKEN"))
    """For `influx bootstrap` alone: a token that may make buckets and tokens ([influxdb.md](influxdb.md#set-up)).
    Nothing else reads it, so do not give it to the processor."""
    influx_org: str = Field("streamgauge", validation_alias=AliasChoices("INFLUX_ORG"))
    """Its organisation."""
    influx_bucket: str = Field("streamgauge", validation_alias=AliasChoices("INFLUX_BUCKET"))
    """Its bucket."""
    influx_bucket_hourly: str | None = Field(None, validation_alias=AliasChoices("INFLUX_BUCKET_HOURLY"))
    """A bucket of its own for windows from an hour to less than a day, so that it can be kept as long as it deserves.
    Default: the same as `INFLUX_BUCKET`."""
    influx_bucket_daily: str | None = Field(None, validation_alias=AliasChoices("INFLUX_BUCKET_DAILY"))
    """A bucket of its own for windows of a day and more. Default: the same as `INFLUX_BUCKET`."""
    influx_spool_mb: int = Field(1024, ge=1, le=1_000_000, validation_alias=AliasChoices("INFLUX_SPOOL_MB"))
    """The most that each process of the processor keeps on disk for InfluxDB while that is away."""
    archive_url: str | None = Field(None, validation_alias=AliasChoices("ARCHIVE_URL"))
    """Where events are archived when the catalog has `[archive]`: a directory, or `s3://bucket/prefix` (`pip install
    "streamgauge[s3]"`). Default: `archive` in the state directory."""
    state: Path = Path(".streamgauge")
    """Directory for snapshots, the embedded server's data and the SQLite store; each platform has its own folder in
    it."""
    person_key: SecretStr | None = None
    """Key of the pseudonyms, at least 16 bytes. Whoever has it can recognise people: keep it secret, and the same.
    Default: made once, kept in the state directory."""
    host: str = "127.0.0.1"
    """Address the API listens on. On any but a loopback address nobody gets in without a key or a login, unless
    STREAMGAUGE_ANONYMOUS gives them a role."""
    port: int = Field(8000, ge=1, le=65535)
    """Its port."""
    tick_ms: int = Field(100, ge=20, le=10_000)
    """How often changed numbers leave the processor and reach the screens."""
    snapshot_s: float = Field(2.0, gt=0, le=60)
    """How often the processor's state is saved; also how much it reads again after a crash."""
    on_gap: Literal["error", "earliest", "latest"] = "earliest"
    """What to do when entries are gone from a stream before they were read, or the stream was made anew: `earliest`
    goes on with the first entry that is there, `latest` skips to the end, `error` ends the processor with status 78.
    Under each the gap is logged with its size, and counted."""
    shards: int | None = Field(None, ge=1, le=64)
    """Parts that are counted apart and merged, 1 to 64. Decided when a state directory is made and fixed for its life;
    another number is refused. A multiple of the processes shares the work evenly. Default: one for each process."""
    metrics_host: str = "127.0.0.1"
    """Address on which each process of the processor serves its own metrics ([operations](operations.md)). There is no
    login: on any other address everybody who reaches it can read them."""
    metrics_port: int | None = Field(9464, ge=1, le=65535)
    """Its port; process *i* of several, or member *i* of a cluster, takes this plus *i*. `off` for none. Where this or
    the address is set and cannot be listened on, the processor ends with status 78; where neither is, it warns and goes
    on without."""
    api_metrics_port: int | None = Field(9564, ge=1, le=65535)
    """The port of the API's own metrics, on the same address; process *i* of several takes this plus *i*. `off` for
    none."""
    deliver_metrics_port: int | None = Field(9664, ge=1, le=65535)
    """The port of the own metrics of `deliver`, on the same address. `off` for none."""
    origins: str = ""
    """Origins, separated by commas, whose pages may open a live line besides our own, such as
    `https://wall.example,https://intranet.example`; `*` for all. Programs that are no browsers send none, and are let
    in. On a loopback address every request has to call the API by a loopback name or by the host of one of these
    (`Host`), or gets 403: list the wallboard's own origin here when a proxy on this machine passes its `Host` on."""
    max_clients: int = Field(10_000, ge=1, le=1_000_000)
    """Live lines that one API process holds; more are told to come back later. Each is an open file: the process raises
    its own limit as far as it may, and says so where that is not far enough."""
    max_clients_per_address: int = Field(1_000, ge=1, le=1_000_000)
    """Those from one address. Behind a proxy on the same machine the address is the one the proxy says
    (`X-Forwarded-For`)."""
    accepts_per_s: float = Field(500.0, gt=0, le=100_000)
    """New live lines a second that one API process takes for long, and twice as many at once; more are refused with 503
    before they cost anything."""
    heartbeat_s: float = Field(5.0, ge=0.25, le=60)
    """How often a client hears something when there is nothing to say; three missed are a dead line."""
    anonymous: Literal["none", "viewer", "analyst", "operator", "admin"] | None = None
    """Role of whoever shows no key and no login: `none`, `viewer`, `analyst`, `operator`, `admin`. Default: `admin` on
    loopback while there is no key, no OIDC and no public address, else `none`."""
    public_url: str | None = None
    """Where browsers find the API, such as `https://wall.example`; what a login comes back to. Its pages are ours, and
    with it somebody has to say who is let in ([security.md](security.md))."""
    trusted_proxies: str = "127.0.0.1"
    """Addresses, separated by commas, whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."""
    oidc_issuer: str | None = None
    """OpenID Connect: who signs the tokens of people, such as `https://login.example/realms/ops`."""
    oidc_client_id: str | None = None
    """This client there."""
    oidc_client_secret: SecretStr | None = None
    """For the login of browsers; not needed where only bearer tokens come."""
    oidc_audience: str | None = None
    """What a bearer token has to be for. Default: the client id."""
    oidc_roles_claim: str = "roles"
    """Claim that says which roles somebody has; dots lead into objects, as in `realm_access.roles`."""
    oidc_roles: str = ""
    """Which value of the claim is which role: `sre=operator,data=analyst`. Values that are roles need no word."""
    oidc_rows: str = ""
    """Which claim limits the rows that somebody sees: `community=communities` shows them the series whose dimension
    `community` is one of the claim's values."""
    oidc_person_claim: str | None = None
    """Claim with the id that events have for the same person, for what is known of oneself."""
    ingest_origins: str = ""
    """Origins, separated by commas, whose pages may send events besides our own; `*` for all."""
    ingest_max_bytes: int = Field(5 << 20, ge=1_024, le=1 << 30)
    """Largest body of a request with events, once it is unpacked."""
    ingest_events_per_s: float = Field(100_000.0, gt=0)
    """Events a second that one API process takes for long from one key; twice as many at once."""
    ingest_backlog: int = Field(1_000_000, ge=1)
    """Entries that may wait in the streams before events are refused with 503."""
    ingest_dedupe_s: int = Field(600, ge=0, le=86_400)
    """For how long the door remembers ids of events to say `duplicate` by itself; 0: not at all."""
    geoip: Path | None = None
    """A MaxMind database (`.mmdb`) for `country` and `region`."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """`console`, `json`, or `auto`: for people on a terminal, as JSON elsewhere."""
    otlp_endpoint: str | None = Field(None, validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT"))
    """Where traces go, in OTLP over HTTP (`pip install "streamgauge[otel]"`)."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Least severity that is logged."""

    @field_validator("metrics_port", "api_metrics_port", "deliver_metrics_port", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        if value == "off":
            return None
        if str(value).isdigit() and int(str(value)):
            return value
        raise ValueError("expected a port, or `off`")

    @field_validator("origins", "ingest_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in filter(None, (one.strip() for one in value.split(","))):
            scheme, sep, rest = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or not sep or not rest or "/" in rest):
                raise ValueError("expected origins such as https://wall.example, separated by commas")
        return value

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        return tuple(filter(None, (one.strip() for one in self.origins.split(","))))

    @property
    def allowed_ingest_origins(self) -> tuple[str, ...]:
        return tuple(filter(None, (one.strip() for one in self.ingest_origins.split(","))))

    @property
    def loopback(self) -> bool:
        """Whether the API listens where only this machine reaches it."""
        return self.host in LOOPBACK

    @property
    def open_files(self) -> int:
        """How many files an API process wants to have open: one for each client, and some for all else."""
        return self.max_clients + 200

    def metrics_of(self, part: str) -> MetricsPlace:
        """Where the own metrics of the `processor`, the `api` or `deliver` are."""
        name = "metrics_port" if part == "processor" else f"{part}_metrics_port"
        wanted = not self.model_fields_set.isdisjoint({"metrics_host", name})
        return MetricsPlace(self.metrics_host, getattr(self, name), wanted, f"STREAMGAUGE_{name.upper()}")

    def store_url(self, state: Path) -> str:
        return self.database_url or f"sqlite:///{(state / 'points.db').resolve()}"


def read_settings(**overrides: object) -> Settings:
    """The settings of this process's environment; `overrides` are what the command line says.

    `<VARIABLE>_FILE` names a file that has the value, as secrets are handed to containers. Raises SettingsError.
    """
    overrides = _from_files() | {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        lines = []
        for item in error.errors():
            name = str(item["loc"][0])
            shown = variables().get(name, name)
            found = "what is secret" if name in SECRETS else repr(item["input"])
            lines.append(f"{shown}: {item['msg']}; found {found}")
        raise SettingsError("\n".join(lines)) from None


def variables() -> dict[str, str]:
    """The variable of each setting."""
    names = {}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names[name] = str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"STREAMGAUGE_{name.upper()}"
    return names


SECRETS = frozenset(
    name
    for name, field in Settings.model_fields.items()
    if SecretStr in (field.annotation, *get_args(field.annotation))
)
"""The settings whose values nobody is to see."""


def _from_files() -> dict[str, object]:
    """The settings that are in files. Raises SettingsError."""
    found: dict[str, object] = {}
    for name, variable in variables().items():
        path = os.environ.get(f"{variable}_FILE")
        if not path:
            continue
        if os.environ.get(variable):
            raise SettingsError(f"{variable}: expected it or {variable}_FILE; found both")
        try:
            found[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable}_FILE: {path} cannot be read: {error}") from None
    return found


def archive_url(settings: Settings, state: Path) -> str:
    """Where the events of the platform with this state directory are archived, for `open_place`."""
    return settings.archive_url or str((state / "archive").resolve())


def person_key(settings: Settings, state: Path, *, make: bool = True) -> bytes:
    """The key of the pseudonyms: the one that is set, else the one in `state`, made there on first use.

    Without `make` nothing is written: where there is no key yet, any will do for this once.
    """
    path = state / _KEY_FILE
    if settings.person_key is None and not path.exists():
        if not make:
            return secrets.token_bytes(32)
        state.mkdir(parents=True, exist_ok=True)
        # Private from the start, and there only once it is whole: two processes may arrive here together.
        own = state / f"{_KEY_FILE}.{secrets.token_hex(8)}"
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(own, path)
        own.unlink()
    return existing_person_key(settings, state)


def existing_person_key(settings: Settings, state: Path) -> bytes:
    """The key of the pseudonyms: the one that is set, else the one in `state`. Raises SettingsError, and OSError where
    there is none yet."""
    if settings.person_key is not None:
        key = settings.person_key.get_secret_value().encode()
        if len(key) < 16:
            raise SettingsError(f"STREAMGAUGE_PERSON_KEY: expected at least 16 bytes; found {len(key)}")
        return key
    path = state / _KEY_FILE
    text = path.read_text().strip()
    REDACTED.hide(text)
    key = text.encode()
    if len(key) < 16:
        raise SettingsError(f"{path}: expected a key of at least 16 bytes; found {len(key)}")
    return key


def environment_with(values: Mapping[str, object]) -> dict[str, str]:
    """The environment of a child process: ours with `values`, which come before files that we were given; what is None
    is left out."""
    said = {name: str(value) for name, value in values.items() if value is not None}
    ours = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in said}
    return ours | said
