"""The verbs of `streamgauge webhooks`: how deliveries stand, and what an operator does about those that failed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from live_api.delivery.endpoints import Endpoint
from live_api.delivery.ledger import DeadNotification, Ledger, Standing, make_group
from sinks.errors import Misconfigured
from sinks.records import iso
from stream.catalog import Catalog
from stream.walltime import clock_ms
from stream.webhooks import PAGERDUTY_URL, Webhook
from streamgauge.places import outbox_of
from streamgauge.preconditions import fail, load_catalog, load_settings, valkey_address
from streamgauge.settings import EXIT_CONFIGURATION
from streamgauge.terminal import printable

T = TypeVar("T")
_EXIT_USAGE = 2
_LOOKING = "somebody who only looks"
"""Who asks here never holds a lease, so what it is called by does not matter."""

app = typer.Typer(
    name="webhooks",
    help="Webhooks: how deliveries stand, send given up ones again, try one, switch one on again.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

CatalogOption = Annotated[
    str,
    typer.Option("--catalog", "-c", metavar="FILE", help="The catalog `deliver` runs with, or a ready one's name."),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The webhook, as `list` calls it.")]


@app.command("list")
def list_(
    catalog: CatalogOption,
    dead: Annotated[bool, typer.Option("--dead", help="The notifications that were given up, instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print each webhook: whether it is delivered to, how much waits, how much was given up, what came last."""
    _, loaded = load_catalog(catalog)

    async def look(client: Valkey) -> None:
        for webhook in loaded.webhook:
            ledger = _ledger(client, loaded, webhook.endpoint)
            if not dead:
                standing = await ledger.standing()
                typer.echo(json.dumps(_as_json(webhook, standing)) if as_json else _row(webhook, standing))
                continue
            async for letter in ledger.dead():
                typer.echo(json.dumps(_letter(webhook, letter)) if as_json else _letter_row(webhook, letter))

    _with_client(look)
    if not loaded.webhook:
        typer.echo("the catalog has no [[webhook]]", err=True)


@app.command("replay")
def replay(
    catalog: CatalogOption,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]…", help="Only these notifications, as `list --dead` has them.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", "-e", metavar="NAME", help="Only of this webhook.")
    ] = None,
    overtaken: Annotated[
        bool, typer.Option("--overtaken", help="Also those whose alert has had later news delivered.")
    ] = False,
) -> None:
    """Send notifications again that were given up, each to the webhook that did not get it, in their order.

    One whose alert has had later news delivered since is left where it is: that an alert opened is no news after its
    end. `--overtaken` sends it all the same.
    """
    _, loaded = load_catalog(catalog)
    chosen = [_named(loaded, endpoint)] if endpoint is not None else loaded.webhook
    wanted = set(ids or ())

    async def put_back(client: Valkey) -> tuple[int, int, set[str]]:
        put, left, found = 0, 0, set()
        for webhook in chosen:
            ledger = _ledger(client, loaded, webhook.endpoint)
            letters = [letter async for letter in ledger.dead() if not wanted or letter.notification.id in wanted]
            found |= {letter.notification.id for letter in letters}
            if letters:
                await make_group(client, outbox_of(loaded), webhook.endpoint)
            for letter in letters:
                if not overtaken and await ledger.overtaken(letter.notification.group, letter.original):
                    left += 1
                else:
                    await ledger.put_back(letter, forced=overtaken)
                    put += 1
        return put, left, wanted - found

    put, left, missing = _with_client(put_back)
    typer.echo(f"put back: {put}")
    if left:
        typer.echo(f"left, as later news of the same alert was delivered: {left} (--overtaken sends them too)")
    if missing:
        fail(f"no such dead letter: {', '.join(sorted(map(printable, missing)))}")


@app.command("test")
def test(catalog: CatalogOption, name: NameArgument) -> None:
    """Send one signed test message now, and print what the endpoint says. Exit status 1 when it does not take it.

    It goes past the outbox and changes nothing there. PagerDuty gets an event of severity info, and its end.
    """
    from streamgauge.delivering import endpoint_of
    from streamgauge.testing_webhooks import try_out

    _, loaded = load_catalog(catalog)
    webhook = _named(loaded, name)
    try:
        endpoint: Endpoint = endpoint_of(webhook, os.environ)
    except Misconfigured as error:
        fail(str(error), EXIT_CONFIGURATION)
    attempts = asyncio.run(try_out(endpoint, loaded.platform.name, clock_ms()))
    for attempt in attempts:
        status = "no answer" if attempt.answer is None else f"HTTP {attempt.answer.status}"
        took = "" if attempt.took_ms is None else f" in {attempt.took_ms:.0f} ms"
        body = "" if attempt.answer is None else printable(attempt.shown)
        typer.echo(f"{endpoint.name} {endpoint.shown}: {attempt.outcome.value}, {status}{took}")
        if attempt.answer is None and attempt.error:
            typer.echo(f"  {printable(attempt.error)}")
        if body:
            typer.echo(f"  {body}")
    raise typer.Exit(0 if all(attempt.delivered for attempt in attempts) else 1)


@app.command("enable")
def enable(catalog: CatalogOption, name: NameArgument) -> None:
    """Switch a webhook on again that answered 410 Gone; what waited for it is sent."""
    _, loaded = load_catalog(catalog)
    webhook = _named(loaded, name)

    async def switch_on(client: Valkey) -> bool:
        return await _ledger(client, loaded, webhook.endpoint).enable()

    typer.echo(f"{name} is on again" if _with_client(switch_on) else f"{name} was not switched off")


def _with_client(ask: Callable[[Valkey], Awaitable[T]]) -> T:
    url = valkey_address(load_settings())

    async def run() -> T:
        client = Valkey.from_url(url, socket_timeout=10, socket_connect_timeout=5)
        try:
            return await ask(client)
        finally:
            await client.aclose()

    try:
        return asyncio.run(run())
    except ValkeyError as error:
        fail(f"VALKEY_URL: {error}")


def _ledger(client: Valkey, catalog: Catalog, name: str) -> Ledger:
    return Ledger(client, outbox_of(catalog), name, _LOOKING)


def _named(catalog: Catalog, name: str) -> Webhook:
    for webhook in catalog.webhook:
        if webhook.endpoint == name:
            return webhook
    known = ", ".join(webhook.endpoint for webhook in catalog.webhook) or "none, as the catalog has no [[webhook]]"
    fail(f"no webhook {name!r}; expected one of {known}", _EXIT_USAGE)


def _where(webhook: Webhook) -> str:
    """Where it is, without what may be secret."""
    if webhook.url_env is not None:
        return f"${webhook.url_env}"
    return Endpoint(webhook.endpoint, webhook.format, webhook.url or PAGERDUTY_URL).shown


def _state(standing: Standing) -> str:
    if standing.disabled_ms is not None:
        return f"off since {iso(standing.disabled_ms)} ({standing.why})"
    if not standing.running:
        return "nobody delivers"
    if standing.circuit_open_ms is not None:
        return f"failing since {iso(standing.circuit_open_ms)}"
    return "on"


def _row(webhook: Webhook, standing: Standing) -> str:
    last = standing.last
    came = "nothing yet"
    if last is not None:
        error = f": {printable(last['error'])}" if last.get("error") else ""
        came = f"{last['outcome']} {iso(last['at_ms'])}{error}"
    return (
        f"{webhook.endpoint}  {webhook.format}  {_where(webhook)}  {_state(standing)}  "
        f"waiting {standing.waiting}  dead {standing.dead}  last {came}"
    )


def _as_json(webhook: Webhook, standing: Standing) -> dict[str, object]:
    return {
        "name": webhook.endpoint,
        "format": webhook.format,
        "where": _where(webhook),
        "running": standing.running,
        "waiting": standing.waiting,
        "dead": standing.dead,
        "disabled": None if standing.disabled_ms is None else iso(standing.disabled_ms),
        "failing_since": None if standing.circuit_open_ms is None else iso(standing.circuit_open_ms),
        "last": standing.last,
    }


def _letter(webhook: Webhook, letter: DeadNotification) -> dict[str, object]:
    notification = letter.notification
    return {
        "endpoint": webhook.endpoint,
        "notification": notification.id,
        "at": iso(notification.at_ms),
        "rule": notification.rule,
        "alerts": [{"change": change.value, "id": alert.id} for change, alert in notification.alerts],
        "given_up": iso(int(letter.letter.partition("-")[0])),
        "why": letter.why,
    }


def _letter_row(webhook: Webhook, letter: DeadNotification) -> str:
    notification = letter.notification
    changes = ", ".join(change.value for change, _ in notification.alerts)
    return (
        f"{webhook.endpoint}  {notification.id}  {iso(notification.at_ms)}  {printable(notification.rule)} {changes}  "
        f"{printable(letter.why)}"
    )
