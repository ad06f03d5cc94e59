"""`streamgauge health`: asked every few seconds by container managers, so it loads little."""

from __future__ import annotations

from typing import Annotated, Any, NoReturn

import orjson
import typer

from streamgauge.asking import Role, Unreachable, api_url, get, metrics_url
from streamgauge.redaction import REDACTED
from streamgauge.settings import SettingsError, read_settings

MemberOption = Annotated[int, typer.Option("--member", min=0, help="Which of several processes of the part.")]


def health(
    role: Annotated[Role, typer.Option("--role", help="Which part.")] = Role.API,
    ready: Annotated[
        bool, typer.Option("--ready", help="Whether its work can be relied on, and not only whether it lives.")
    ] = False,
    member: MemberOption = 0,
) -> None:
    """Ask a part on this machine whether it lives, or is `--ready`: exit status 0 when it is, else 1, with the reasons.

    For the health checks of containers and service managers. The API is asked on its own port, the others where their
    metrics are.
    """
    try:
        settings = read_settings()
    except SettingsError as error:
        _fail(str(error))
    base = api_url(settings, member) if role is Role.API else metrics_url(settings, role, member)
    if base is None:
        _fail(f"{settings.metrics_of(role.value).variable}=off: {role} has no place to be asked at")
    try:
        found = get(f"{base}/{'readyz' if ready else 'healthz'}")
    except Unreachable as error:
        _fail(str(error))
    said = _json(found.body)
    typer.echo(REDACTED("; ".join([str(said.get("status", f"HTTP {found.status}")), *said.get("reasons", [])])))
    raise typer.Exit(0 if found.status == 200 else 1)


def alone(arguments: list[str]) -> NoReturn:
    """The verb by itself, as `streamgauge health` has it with all others beside it."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
    app.command()(health)
    app(arguments, prog_name="streamgauge health")
    raise typer.Exit(0)


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _fail(message: str) -> NoReturn:
    typer.echo(REDACTED(message), err=True)
    raise typer.Exit(1)
