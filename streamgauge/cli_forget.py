"""`streamgauge forget`: a person, everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from streamgauge.cli_options import RunningCatalogOption, StateOption


def forget(
    user_id: Annotated[
        str, typer.Argument(metavar="USER_ID", help="The id as events have it; - to read it from standard input.")
    ],
    catalog: RunningCatalogOption,
    state: StateOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Change nothing: look through every store for what is left of them.")
    ] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0, max=3600, help="Seconds to wait for the processor to have done its part.")
    ] = 30.0,
    vacuum: Annotated[
        bool, typer.Option("--vacuum/--no-vacuum", help="Write an SQLite store anew, so that no byte of them stays.")
    ] = True,
) -> None:
    """Forget a person: their state, their record, their events at rest; and refuse what comes of them from now on.

    The id becomes a pseudonym at once, is never written or sent, and is not printed. What was counted stays counted,
    of nobody. With `--verify` it says of every store what it looked through and what it found: exit status 0 when that
    is nothing but the list of those of whom nothing is taken, 1 otherwise.
    """
    from streamgauge.forget_verb import forget as do  # the databases, which no other verb waits for

    do(user_id, catalog, state, verify=verify, wait=wait, vacuum=vacuum)
