"""The verbs of `streamgauge backtest`: what would have been said of the past."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sinks.errors import Misconfigured
from streamgauge.preconditions import fail, load_catalog, load_settings

_EXIT_USAGE = 2

app = typer.Typer(
    name="backtest",
    help="Try on a file of the past what would be said of it, before anybody is woken.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.callback()
def backtest() -> None:
    """Try on a file of the past what would be said of it, before anybody is woken."""


@app.command("anomaly")
def anomaly(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV with a column timestamp and a column value, also with .gz.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write timestamp,value,anomaly_score,alert here."),
    ] = None,
    detector: Annotated[
        str | None, typer.Option("--detector", "-d", metavar="NAME", help="What finds something strange: novelty.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="An option of the detector; may be repeated."),
    ] = None,
    opens: Annotated[
        str | None,
        typer.Option("--open", metavar="SCORE", help="From which score on a row is out of the ordinary, or 5m, or 3s."),
    ] = None,
    close: Annotated[
        float | None, typer.Option("--close", metavar="SCORE", help="Below which score a row is quiet.")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", "--k", min=1, help="An alert opens when so many")] = None,
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="of the last so many rows are.")] = None,
    resolve_after: Annotated[
        int | None, typer.Option("--resolve-after", min=1, help="It ends after so many quiet rows in a row.")
    ] = None,
    catalog: Annotated[
        str | None, typer.Option("--catalog", "-c", metavar="FILE", help="Take a rule of this catalog, and change it.")
    ] = None,
    rule: Annotated[str | None, typer.Option("--rule", "-r", metavar="NAME", help="Which rule of the catalog.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", "-l", metavar="FILE", help="JSON: windows [[from, to], …] in which something was wrong."
        ),
    ] = None,
) -> None:
    """Run a rule over a series of the past, with the processor's own detector and episodes, and say what came of it.

    With labels also how many episodes were right (precision), how many windows were found (recall) and how late.
    """
    from streamgauge.backtest import (
        BacktestError,
        Judged,
        Summary,
        judge,
        make_rule,
        opening,
        read_labels,
        report,
        write_scores,
    )
    from streamgauge.backtest import backtest as run
    from streamgauge.files import FileError
    from streamgauge.series_file import read_series

    given = {"detector": detector, "close": close, "k": k, "n": n, "resolve_after": resolve_after}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    changes |= {"options": _options(option)} if option else {}
    base = _rule_of(catalog, rule)
    limit = None if opens is None else _scalar(opens)
    try:
        if limit is not None and (base is None or changes.get("detector", base.detector) != base.detector):
            changes["severity"] = {"warning": limit}
        elif limit is not None and base is not None:
            changes["severity"] = opening(base, limit)
        tried = make_rule(base, changes)
        windows = None if labels is None else read_labels(labels, file.name)
    except BacktestError as error:
        fail(str(error), _EXIT_USAGE)
    if out is not None and out.exists() and file.exists() and out.samefile(file):
        fail(f"--out: expected another file than the one that is read, found {out}", _EXIT_USAGE)
    summary = Summary()
    judged: Iterable[Judged] = run(tried, read_series(file), summary)
    started_s = time.perf_counter()
    try:
        if out is None:
            deque(judged, maxlen=0)
        else:
            with out.open("w", newline="") as to:
                write_scores(judged, to)
    except FileError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{out}: {error.strerror or error}")
    seconds = time.perf_counter() - started_s
    verdict = None if windows is None else judge(summary, windows)
    try:
        for line in report(tried, summary, verdict, seconds):
            typer.echo(line)
    except BrokenPipeError:
        sys.stdout = None


@app.command("forecast")
def forecast(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV with a column timestamp and a column value, also with .gz.")
    ],
    horizons: Annotated[
        str, typer.Option("--horizons", metavar="N,…", help="How many windows ahead, up to four of them.")
    ] = "1,6,12",
    window: Annotated[
        str | None, typer.Option("--window", "-w", metavar="WIDTH", help="Else as far as rows are usually apart.")
    ] = None,
    season: Annotated[
        str, typer.Option("--season", "-s", metavar="SPAN,…", help="After which things repeat: one, two, or none.")
    ] = "1d",
    coverage: Annotated[
        float, typer.Option("--coverage", metavar="SHARE", help="Of values that are to be within their interval.")
    ] = 0.9,
    non_negative: Annotated[bool, typer.Option("--non-negative", help="Nothing below 0 is forecast.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write timestamp,value,horizon,forecast,lower,upper here."),
    ] = None,
) -> None:
    """Forecast a series of the past as it would have been live, and say how good that is beside naive forecasts."""
    from models.base import ModelError
    from models.forecast import Forecaster
    from stream.durations import duration_ms
    from streamgauge.backtest_forecast import ForecastBacktestError, Trial, on_grid, report, write_forecasts
    from streamgauge.backtest_forecast import forecast as run
    from streamgauge.files import FileError
    from streamgauge.series_file import read_series

    try:
        ahead = [int(each) for each in horizons.split(",")]
    except ValueError:
        fail(f"--horizons: expected whole numbers such as 1,6,12, found {horizons!r}", _EXIT_USAGE)
    spans: list[float] = []
    step_ms = None
    try:
        name = "--season"
        if season.strip().lower() != "none":
            spans = [duration_ms(each.strip()) / 1_000 for each in season.split(",")]
        name = "--window"
        step_ms = None if window is None else duration_ms(window)
    except ValueError as error:
        fail(f"{name}: {error}", _EXIT_USAGE)
    if out is not None and out.exists() and file.exists() and out.samefile(file):
        fail(f"--out: expected another file than the one that is read, found {out}", _EXIT_USAGE)
    try:
        series = on_grid(read_series(file), step_ms)
    except FileError as error:
        fail(str(error))
    except ForecastBacktestError as error:
        fail(f"{file}: {error}")
    try:
        forecaster = Forecaster(
            ahead, season_s=spans, step_s=series.step_ms / 1_000, coverage=coverage, non_negative=non_negative
        )
    except ModelError as error:
        fail(f"--{error}", _EXIT_USAGE)
    trial = Trial()
    told = run(series, forecaster, trial)
    started_s = time.perf_counter()
    try:
        if out is None:
            deque(told, maxlen=0)
        else:
            with out.open("w", newline="") as to:
                write_forecasts(told, forecaster.horizons, to)
    except OSError as error:
        fail(f"{out}: {error.strerror or error}")
    seconds = time.perf_counter() - started_s
    try:
        for line in report(series, forecaster, trial, seconds):
            typer.echo(line)
    except BrokenPipeError:
        sys.stdout = None


@app.command("churn")
def churn(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", help="Event files: .ndjson, .json (one event a line), .csv, each also as .gz"),
    ],
    catalog: Annotated[
        str, typer.Option("--catalog", "-c", metavar="FILE", help="A catalog with [churn], or a ready one.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write person,as_of,probability,label here.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help="Count from this day on how good it was: 2026-03-01. Default: all."),
    ] = None,
    raw_ids: Annotated[
        bool,
        typer.Option("--raw-ids", help="Write ids as the events have them, to join the file with others by them."),
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="Whose key makes the pseudonyms. Default: STREAMGAUGE_STATE."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no report of refused events.")] = False,
) -> None:
    """Say of past events, day by day, who was likely to leave, and how good that was once it was known.

    The processor's own code learns and scores each day with what was known by then. The label is 1 for who left, 0 for
    who came back, and empty where the files end before it is known. Persons are pseudonyms unless `--raw-ids`.
    """
    from streamgauge.backtest_churn import ChurnBacktest, report
    from streamgauge.backtest_churn import backtest as run
    from streamgauge.compute import report_refused
    from streamgauge.files import FileError
    from streamgauge.geo import geo_of
    from streamgauge.places import state_of
    from streamgauge.settings import SettingsError, person_key

    path, loaded = load_catalog(catalog)
    if loaded.churn is None:
        fail(f"--catalog: expected a catalog with [churn], found none in {path}", _EXIT_USAGE)
    from_ms = 0 if since is None else _day(since)
    if out is not None and out.exists() and any(file.exists() and out.samefile(file) for file in files):
        fail(f"--out: expected another file than those that are read, found {out}", _EXIT_USAGE)
    settings = load_settings(state=state)
    told = ChurnBacktest(None, from_ms)
    try:
        key = person_key(settings, state_of(settings.state, loaded), make=False)
        with nullcontext(None) if out is None else out.open("w", newline="") as told.out:
            refused = run(loaded, files, key, told, geo=geo_of(settings, loaded), raw_ids=raw_ids, quiet=quiet)
    except (FileError, Misconfigured, SettingsError, OSError) as error:
        fail(str(error))
    if not quiet:
        report_refused(refused, sys.stderr)
    try:
        for line in report(told, loaded):
            typer.echo(line)
    except BrokenPipeError:
        sys.stdout = None


def _day(text: str) -> int:
    """The beginning of a day, epoch ms."""
    try:
        return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)
    except ValueError:
        fail(f"--from: expected a day such as 2026-03-01, found {text!r}", _EXIT_USAGE)


def _rule_of(catalog: str | None, name: str | None) -> Any:
    """The rule to begin with; None without a catalog."""
    if (catalog is None) != (name is None):
        fail("--catalog and --rule go together: which rule of which catalog", _EXIT_USAGE)
    if catalog is None:
        return None
    path, loaded = load_catalog(catalog)
    names = [rule.called for rule in loaded.anomaly]
    if name not in names:
        fail(f"--rule: expected one of {path}: {', '.join(names) or 'it has none'}; found {name!r}", _EXIT_USAGE)
    return loaded.anomaly[names.index(name)]


def _options(texts: list[str]) -> dict[str, Any]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            fail(f"--option: expected NAME=VALUE, found {text!r}", _EXIT_USAGE)
        found[name.strip()] = _scalar(value.strip())
    return found


def _scalar(text: str) -> bool | int | float | str:
    """As TOML would read it; a text where it is nothing else."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
