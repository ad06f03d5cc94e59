"""`streamgauge deliver`: the catalog's webhooks with their secrets, and the process that delivers to them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from live_api.conditions import Condition
from live_api.delivery.delivering import deliver
from live_api.delivery.endpoints import Endpoint
from live_api.delivery.meters import DeliveryMeters
from live_api.delivery.retries import Schedule
from live_api.delivery.signing import LONGEST_BYTES, PREFIX, SHORTEST_BYTES, SigningKey
from live_api.delivery.webhooks import Pace
from live_api.spans import untraced
from sinks.alert_records import Severity
from sinks.deliveries import Deliveries
from sinks.errors import Misconfigured
from sinks.store import Store
from stream.catalog import Catalog
from stream.webhooks import PAGERDUTY_URL, Webhook, check_url
from streamgauge.exposition import expose
from streamgauge.health import Health, alive, of_deliver
from streamgauge.places import outbox_of
from streamgauge.redaction import REDACTED
from streamgauge.samples import Samples
from streamgauge.settings import EXIT_CUT_OFF, Settings
from streamgauge.tracing import tracing_of

logger = logging.getLogger(__name__)

_HARD_LIMIT_S = 7.0
_ROUTING_KEY = re.compile(r"[A-Za-z0-9]{32}")
_MOST_SECRET_BYTES = 64 << 10
_SECRET = f"{PREFIX} and base64 of {SHORTEST_BYTES} to {LONGEST_BYTES} bytes; several, for a change, apart by spaces"


def endpoints_of(catalog: Catalog, environment: Mapping[str, str]) -> list[Endpoint]:
    """The webhooks with what the environment and files have for them.

    Raises Misconfigured, with all that is wrong: the webhook, the variable or file, what was expected. Never a secret.
    """
    made, wrong = [], []
    for webhook in catalog.webhook:
        try:
            made.append(endpoint_of(webhook, environment))
        except Misconfigured as error:
            wrong.append(str(error))
    if wrong:
        raise Misconfigured("\n".join(wrong))
    return made


def endpoint_of(webhook: Webhook, environment: Mapping[str, str]) -> Endpoint:
    """One of them. Raises Misconfigured."""
    name = webhook.endpoint
    url = webhook.url or PAGERDUTY_URL
    if webhook.url_env is not None:
        url = _variable(name, webhook.url_env, "the URL", environment).strip()
        if (problem := check_url(url, webhook.allow_http, webhook.networks)) is not None:
            expected, found = problem
            raise Misconfigured(f"webhook {name}: {webhook.url_env}: expected {expected}; found {found}")
    keys: tuple[SigningKey, ...] = ()
    routing_key = None
    where, secret = _secret(webhook, name, environment)
    if webhook.format == "pagerduty":
        if not _ROUTING_KEY.fullmatch(secret or ""):
            raise Misconfigured(
                f"webhook {name}: {where}: expected a routing key of 32 letters and digits; found {len(secret or '')} "
                "characters that are none"
            )
        routing_key = secret
    elif secret is not None:
        try:
            keys = tuple(SigningKey.parse(one) for one in secret.split())
        except ValueError as error:
            raise Misconfigured(f"webhook {name}: {where}: {error}") from None
        if not keys:
            raise Misconfigured(f"webhook {name}: {where}: expected {_SECRET}; found nothing")
    headers = {}
    for header, variable in webhook.headers.items():
        value = _variable(name, variable, f"header {header}", environment).strip()
        if not value.isprintable() or not value.isascii():
            raise Misconfigured(f"webhook {name}: {variable}: expected printable ASCII on one line; found more")
        headers[header] = value
    return Endpoint(
        name,
        webhook.format,
        url,
        keys,
        headers,
        routing_key,
        webhook.template,
        Severity(webhook.severity),
        frozenset(webhook.rules),
        webhook.resolved,
        webhook.concurrency,
        webhook.timeout_s,
        webhook.networks,
    )


def _secret(webhook: Webhook, name: str, environment: Mapping[str, str]) -> tuple[str, str | None]:
    """Where the secret is, in words, and the secret."""
    if webhook.secret_env is not None:
        return webhook.secret_env, _variable(name, webhook.secret_env, _SECRET, environment).strip()
    if webhook.secret_file is None:
        return "secret", None
    path = Path(webhook.secret_file)
    where = f"secret_file {path}"
    try:
        with path.open("rb") as file:
            secret = file.read(_MOST_SECRET_BYTES).decode("ascii").strip()
    except OSError as error:
        raise Misconfigured(f"webhook {name}: {where}: expected {_SECRET}; found {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"webhook {name}: {where}: expected {_SECRET}; found letters beyond ASCII") from None
    REDACTED.hide(secret)
    return where, secret


def _variable(name: str, variable: str, expected: str, environment: Mapping[str, str]) -> str:
    value = environment.get(variable, "")
    if not value.strip():
        raise Misconfigured(
            f"webhook {name}: {variable}: expected {expected} in this environment variable; found nothing"
        )
    REDACTED.hide(value)
    return value


def pace_of(text: str | None) -> Pace:
    """A pace as the tests' option has it: JSON with `delays_s`, and any number of `Pace`'s. None for the usual one."""
    if text is None:
        return Pace()
    given = json.loads(text)
    return Pace(Schedule(tuple(given.pop("delays_s")), given.pop("jitter", 0.2)), **given)


def run_deliver(catalog: Catalog, settings: Settings, state: Path, valkey_url: str, pace: Pace) -> int:
    """Deliver until SIGTERM or SIGINT. Returns the exit status. Raises Misconfigured."""
    endpoints = endpoints_of(catalog, os.environ)
    _warn(catalog, endpoints)
    meters = DeliveryMeters()
    expose(meters.registry, settings, 0, "deliver", _health(meters))
    store_url = settings.store_url(state)
    log = Deliveries(store_url)
    tracing = tracing_of(settings, "deliver")

    def prepare() -> None:
        store = Store(store_url)
        try:
            store.setup()
        finally:
            store.close()

    async def run() -> None:
        stopping = asyncio.Event()

        def stop() -> None:
            # Armed before anything that could hang, such as a name that is being looked up. Nothing is lost by it.
            hard = threading.Timer(_HARD_LIMIT_S, os._exit, (EXIT_CUT_OFF,))
            hard.daemon = True
            hard.start()
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        client = Valkey.from_url(valkey_url, socket_timeout=10, socket_connect_timeout=5)
        turning = asyncio.create_task(_turn(meters))
        try:
            await deliver(
                endpoints,
                client=client,
                outbox=outbox_of(catalog),
                store=log,
                prepare=prepare,
                meters=meters,
                stopping=stopping,
                pace=pace,
                trace=untraced if tracing is None else tracing.sending,
            )
        finally:
            turning.cancel()
            await client.aclose()

    try:
        asyncio.run(run())
    except ValkeyError as error:
        raise Misconfigured(f"VALKEY_URL: {error}. Check its user and password, and what that user may do.") from None
    finally:
        log.close()
        if tracing is not None:
            tracing.close()
    return 0


async def _turn(meters: DeliveryMeters) -> None:
    """Note that the loop of this process comes round."""
    while True:
        meters.turned()
        await asyncio.sleep(1.0)


def _health(meters: DeliveryMeters) -> Health:
    def ready() -> list[Condition]:
        return list(of_deliver(Samples.of(meters.registry), time.time()))

    return Health(lambda: alive(meters.turned_ago_s()), ready)


def _warn(catalog: Catalog, endpoints: list[Endpoint]) -> None:
    if not endpoints:
        logger.warning("the catalog has no [[webhook]]: there is nobody to deliver to")
    for webhook, endpoint in zip(catalog.webhook, endpoints, strict=True):
        if endpoint.url.startswith("http://"):
            logger.warning("INSECURE: WEBHOOK %s IS REACHED WITHOUT ENCRYPTION", endpoint.name)
        if webhook.format in ("generic", "alertmanager") and not endpoint.keys:
            logger.warning("INSECURE: WHAT WEBHOOK %s IS SENT IS NOT SIGNED; set secret_env", endpoint.name)
