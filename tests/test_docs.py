"""Nothing that a user can set, type, declare or ask for is without its place in the documents."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from prometheus_client.metrics import MetricWrapperBase
from typer.core import TyperCommand as Command
from typer.main import get_group

from live_api.delivery.meters import DeliveryMeters
from live_api.intake.meters import IngestMeters
from live_api.meters import HubMeters
from live_api.points import question
from live_api.points.shift import COMPARES
from live_api.protocol import Close
from sinks import schema
from sinks.deliveries import Outcome
from sinks.live_scores import encode
from sinks.records import Reason, Shape
from stream.boards import TAKES, Board, Tile
from stream.catalog import Catalog, Event, Platform, parse
from stream.derived import DERIVED
from stream.forecast import Forecast
from stream.intake import Enrich, Ingest
from stream.keeping import Archive, Buckets, Influx, Keep
from stream.measures.registry import MEASURES
from stream.meters import Meters
from stream.metrics import Metric
from stream.people.declared import People
from stream.people.engagement import Action
from stream.people.features import KINDS, Actions, Churn, Feature
from stream.people.funnel import Exclude, Step
from stream.people.registry import ANALYSES
from stream.problems import CatalogError
from stream.rules import Rule
from stream.webhooks import FORMATS, TEMPLATE_FIELDS, Webhook
from streamgauge.cli import app
from streamgauge.cli_deadletter import app as deadletter
from streamgauge.cli_webhooks import app as webhooks
from streamgauge.places import scores_of
from streamgauge.reference import BLOCK, application, written_anew
from streamgauge.reference_routes import routes_of
from streamgauge.reference_tables import TABLES
from streamgauge.settings import Settings
from tests.scores import QUALITY, score, status
from tests.stack import ROOT

_REFUSED_TODAY = {reason for reason in Reason if reason not in {"bot", "unknown_event", "sampled_out"}}


def _text(name: str) -> str:
    return (ROOT / name).read_text()


def _verbs() -> list[str]:
    groups = [group.typer_instance.info.name for group in app.registered_groups if group.typer_instance]
    return [c.name or c.callback.__name__ for c in app.registered_commands if c.callback and not c.hidden] + groups


@pytest.mark.parametrize("verb", _verbs())
def test_every_verb_is_in_the_table_of_the_command_line(verb: str) -> None:
    assert re.search(rf"^\| `{verb}[ `]", _text("docs/cli.md"), re.MULTILINE)


def test_every_setting_is_documented() -> None:
    text = _text("docs/settings.md")
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        shown = alias.choices[0] if alias is not None and not isinstance(alias, str) else f"STREAMGAUGE_{name.upper()}"
        assert f"`{shown}`" in text, shown


def test_every_key_of_the_catalog_is_documented() -> None:
    text = _text("docs/catalog.md")
    for table in (
        Platform,
        Event,
        Metric,
        Board,
        Tile,
        Rule,
        Webhook,
        Forecast,
        Influx,
        Archive,
        Keep,
        Buckets,
        Ingest,
        Enrich,
    ):
        for key in table.model_fields:
            assert f"`{key}`" in text, f"{table.__name__}.{key}"
    for name in Catalog.model_fields:
        assert re.search(rf"^## `\[+{name}\]+`", text, re.MULTILINE), name
    for measure in [*MEASURES, *DERIVED]:
        assert f"`{measure}`" in text, measure
    for kind in TAKES:
        assert f"\n| `{kind}` | " in text, kind
    for reason in _REFUSED_TODAY:
        assert f"`{reason}`" in text, reason


def test_every_key_of_a_forecast_and_every_metric_it_gives_is_documented() -> None:
    keys, _, text = _text("docs/forecast.md").partition("## What is given")
    for key, field in Forecast.model_fields.items():
        [row] = re.findall(rf"^\| (?:`metric`, )?`{key}`.* \| .* \|$|^\| `{key}`, `window` \|.*$", keys, re.MULTILINE)
        if field.default is not None and not isinstance(field.default, dict) and not field.is_required():
            assert re.search(rf"\| [`\[]*{re.escape(str(field.default).strip('[]'))}", row), row
    declared = parse("""
[[metric]]
name = "x"
measure = "count"
[[forecast]]
metric = "x"
window = "1m"
""")
    for metric in declared.given:
        shown = re.sub("^x_", "<metric>_", metric.name)
        dimensions = [f"`{name}`" for name in metric.by]
        [row] = re.findall(rf"^\| `{shown}` \| .*$", text, re.MULTILINE)
        assert all(name in row for name in (*dimensions, *(f"`{value}`" for value in metric.values))), row


def test_the_catalogs_of_forecasts_are_valid() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", _text("docs/forecast.md"), re.DOTALL)
    assert len(blocks) > 3
    for block in blocks:
        parse(block)


# Every kind of facts and every metric that there can be is there with one of these.
_ANALYSES: dict[str, list[dict[str, Any]]] = {
    "sessions": [{"page": "page", "by": ["field"]}],
    "actives": [{"by": ["field"]}],
    "retention": [{"name": "it", "by": "country", "revenue": "price"}],
    "funnel": [{"name": "it", "steps": [{"name": name, "where": "x"} for name in "ab"], "breakdown": "device"}],
    "paths": [{"name": "it", "of": "page"}],
    "engagement": [{"action": [{"where": "x"}]}],
    "churn": [{}],
}


@pytest.mark.parametrize("key", ANALYSES)
def test_every_analysis_of_people_is_documented_with_its_keys_facts_and_metrics(key: str) -> None:
    text = _text("docs/people.md")
    table = ANALYSES[key]
    written = f"[[{key}]]" if key in ("retention", "funnel", "paths") else f"[{key}]"
    assert re.search(rf"^\| \[`{re.escape(written)}`\]\(#{key}\) \|", text, re.MULTILINE)
    [section] = re.findall(rf"^## {key.capitalize()}\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    for name, field in table.model_fields.items():
        assert re.search(rf"^\| `{field.alias or name}` \| ", section, re.MULTILINE), name
    for nested in {"funnel": (Step, Exclude), "engagement": (Action,), "churn": (Feature, Actions)}.get(key, ()):
        for name in nested.model_fields:
            assert f"`{name}`" in section, name
    for made in _ANALYSES[key]:
        declared = table.model_validate(made)
        for kind in declared.kinds(ZoneInfo("UTC")):
            shown = kind.name.replace(".it", ".<name>").removesuffix("_by_field")
            assert f"`{shown}`" in text, shown
            for name in kind.fields:
                assert f"`{name}`" in text or name == "field", f"{shown}: {name}"
        for metric in declared.metrics():
            shown = re.sub("^it_", "<name>_", re.sub("_by_field$", "_by_<field>", metric["name"]))
            if key == "actives":
                shown = re.sub("_(day|week|month)$", "_<period>", shown.removesuffix("_by_<field>"))
            assert f"`{shown}`" in section, shown


def test_the_catalogs_of_the_documents_are_valid() -> None:
    made = 0
    for page in ("docs/people.md", "docs/catalog.md", "docs/churn.md"):
        for block in re.findall(r"```toml\n(.*?)```", _text(page), re.DOTALL):
            tables = tomllib.loads(block)
            # Examples show a table or two; what these need besides is here.
            needed = "" if "event" in tables else '[event]\nperson = "user"\n'
            session = "session.end" in block and "sessions" not in tables
            needed += '[sessions]\nby = ["device"]\n' if session else ""
            needed += "" if tables.keys() & {"metric", *ANALYSES} else '[[metric]]\nname = "n"\nmeasure = "count"\n'
            if not tables.keys() & {"board", "anomaly", "forecast"}:
                parse(needed + block)
                made += 1
    assert made > 15


def test_churn_is_documented_so_that_a_catalog_can_be_written_from_its_page_alone() -> None:
    text = _text("docs/churn.md")
    for key in Churn.model_fields:
        assert re.search(rf"^\| `{key}` \| ", text, re.MULTILINE), key
    [features] = re.findall(r"^### `\[\[churn.feature\]\]`\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    for key in Feature.model_fields:
        assert re.search(rf"^\| `{key}` \| ", features, re.MULTILINE), key
    for kind, (needed, taken) in KINDS.items():
        [(needs, may_have)] = re.findall(rf"^\| `{kind}` \| (.*?) \| (.*?) ?\| ", features, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", needs)) == needed, kind
        assert set(re.findall(r"`(\w+)`", may_have)) == taken, kind
    for key in Actions.model_fields:
        assert f"`{key}`" in text, key
    [block] = [block for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "[event]" in block]
    assert parse(block).churn is not None, "a whole catalog"


def test_what_models_say_is_documented() -> None:
    text = _text("docs/churn.md")
    for name in [*score().to_json(), *QUALITY]:
        assert f"`{name}`" in text or name in ("person", "reliability"), name
    for name in status().to_json():
        assert f'"{name}"' in text, name
    for name in orjson.loads(encode(score())):
        assert f'"{name}": ' in text, name
    for table in (schema.churn_scores, schema.models):
        assert f"`{table.name}`" in text
        for column in table.columns:
            assert f"`{column.name}`" in text, column.name
    assert f"`HGET {scores_of(parse(_MY_SHOP))} <pseudonym>`" in text


_MY_SHOP = '[platform]\nname = "My shop"\n[[metric]]\nname = "n"\nmeasure = "count"\n'


def test_every_picture_of_the_readme_is_one_that_a_test_takes() -> None:
    """tests/browser/test_pictures.py takes them; here, as not everybody has a browser."""
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", _text("README.md"))
    taken = re.findall(r"^ +take\(\"(\w+)\"\)", _text("tests/browser/test_pictures.py"), re.MULTILINE)
    assert shown
    assert set(shown) == {f"docs/images/wall-{name}.png" for name in taken}


def test_every_page_of_the_documents_is_in_the_readme() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in _text("README.md").partition("## Where to go next")[2], page.name


def test_every_key_of_people_is_documented() -> None:
    for page in ("docs/people.md", "docs/catalog.md"):
        for name in People.model_fields:
            assert re.search(rf"^\| `{name}` \| ", _text(page), re.MULTILINE), f"{page}: {name}"


def test_every_route_is_documented() -> None:
    overview, _, every = _text("docs/http.md").partition("## Every route")
    paths = list(application().openapi()["paths"])
    assert paths
    for path in [*paths, "/v1/ws", "/v1/live"]:
        assert path in overview, path
    for path in paths:
        assert f" {path}`" in every, path


@pytest.mark.parametrize(("verb", "command"), get_group(deadletter).commands.items())
def test_every_option_of_the_deadletter_verbs_is_documented(verb: str, command: Command) -> None:
    sections = re.split(r"^## ", _text("docs/deadletters.md"), flags=re.MULTILINE)
    own = "".join(section for section in sections if section.startswith((f"`{verb}`", "Which letters")))
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
    assert len(options) > 5
    for option in options:
        assert f"`{option}`" in own, option
    (row,) = re.findall(r"^\| `deadletter .*$", _text("docs/cli.md"), flags=re.MULTILINE)
    assert re.search(rf"`(deadletter )?{verb}`", row)


@pytest.mark.parametrize(("verb", "command"), get_group(webhooks).commands.items())
def test_every_webhooks_verb_is_documented_with_its_options(verb: str, command: Command) -> None:
    [row] = re.findall(rf"^\| `streamgauge webhooks {verb} .*$", _text("docs/webhooks.md"), flags=re.MULTILINE)
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    for option in options - {"--catalog"}:
        assert f"`{option}" in row, option


def test_every_option_of_forget_is_documented() -> None:
    text = _text("docs/people.md").partition("## Forgetting somebody")[2]
    parameters = get_group(app).commands["forget"].params
    options = {option for one in parameters for option in (*one.opts, *one.secondary_opts) if option.startswith("--")}
    assert len(options) > 4
    for option in options - {"--vacuum"}:
        assert option in text, option


def test_every_format_field_of_a_template_and_outcome_is_documented() -> None:
    text = _text("docs/webhooks.md")
    for form in FORMATS:
        assert f"\n| `{form}` | " in text, form
    for name in TEMPLATE_FIELDS:
        assert f"`{{{name}}}`" in text, name
    for outcome in Outcome:
        assert f"`{outcome}`" in text, outcome


def test_the_webhooks_of_the_document_are_valid() -> None:
    [block] = re.findall(r"```toml\n(.*?)```", _text("docs/webhooks.md"), re.DOTALL)
    made = parse(f'[[metric]]\nname = "n"\nmeasure = "count"\n{block}').webhook
    assert [webhook.endpoint for webhook in made] == ["ops", "events.pagerduty.com", "chat"]


def test_every_field_of_a_dead_letter_is_documented() -> None:
    text = _text("docs/deadletters.md")
    for name in ("stream", "entry", "index", "reason", "message", "raw", "shape"):
        assert f"`{name}`" in text, name
    for shape in Shape:
        assert f"`{shape}`" in text, shape


@pytest.mark.parametrize("part", ["processor", "hub", "ingest", "deliver"])
def test_every_metric_of_a_part_is_documented(part: str) -> None:
    headings = "## `/metrics` of (?:the API|ingest|`deliver`)"
    of_processor, of_api, of_ingest, of_deliver = re.split(headings, _text("docs/operations.md"))
    text = {"processor": of_processor, "hub": of_api, "ingest": of_ingest, "deliver": of_deliver.partition("\n## ")[0]}[
        part
    ]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \| .+ \|$", text, re.MULTILINE)
    documented = {(name, kind, labels) for name, kind, labels in rows}
    meters = {"processor": Meters, "hub": HubMeters, "ingest": IngestMeters, "deliver": DeliveryMeters}[part]()
    instruments = [it for it in vars(meters).values() if isinstance(it, MetricWrapperBase)]
    made = set()
    for instrument in instruments:
        (family,) = instrument.describe()
        name = family.name.removeprefix(f"streamgauge_{part}_") + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in instrument._labelnames) or "none"
        made.add((name, family.type, labels))
    assert documented == made
    assert {family.name for family in meters.registry.collect() if not family.name.startswith("process_")} == {
        it.describe()[0].name for it in instruments
    }


def test_every_close_code_is_documented() -> None:
    text = _text("docs/protocol.md")
    for code in Close:
        assert str(code.value) in text, code


def test_the_readmes_catalog_is_valid() -> None:
    [block] = re.findall(r"```toml\n(.*?)```", _text("README.md"), re.DOTALL)
    assert tomllib.loads(block)
    assert [metric.name for metric in parse(block).metric] == ["revenue"]


def test_the_catalogs_of_getting_started_are_valid() -> None:
    wrong, shop, rule, people, models = re.findall(r"```toml\n(.*?)```", _text("docs/getting-started.md"), re.DOTALL)
    with pytest.raises(CatalogError):
        parse(wrong)
    names = {metric.name for metric in parse(f"{shop}\n{rule}\n{people}").metric}
    assert {"revenue", "sessions", "mau", "weekly_returned", "checkout_people"} <= names
    given = {metric.name for metric in parse(f"{shop}\n{models}").given}
    assert {"revenue_forecast", "churn_people"} <= given


_PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def _commands(text: str) -> list[list[str]]:
    """Our commands in a page's shell blocks, in words, without what stands in quotes, comments and pipes."""
    blocks = "\n".join(re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.DOTALL))
    plain = re.sub(r"(^|\s)#.*$", "", blocks, flags=re.MULTILINE).replace("\\\n", " ")
    plain = re.sub(r"\"(?:\\.|[^\"\\])*\"|'[^']*'", "quoted", plain)
    lines = re.findall(r"^(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?streamgauge ([^|<>;&\n]+)", plain, re.MULTILINE)
    return [line.split() for line in lines]


def test_the_commands_of_the_documents_exist() -> None:
    found = [(page.name, words) for page in _PAGES for words in _commands(page.read_text())]
    assert len(found) > 30
    for page, words in found:
        command: Any = get_group(app)
        for word in words:
            if word in getattr(command, "commands", {}):
                command = command.commands[word]
        shown = f"{page}: {' '.join(words)}"
        assert not getattr(command, "commands", {}) or "--help" in words, shown
        options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
        for word in words:
            assert not word.startswith("--") or word.partition("=")[0] in options, shown


def _anchors(page: Path) -> set[str]:
    """Where links into a page may lead: its headings, as GitHub names them."""
    found: dict[str, int] = {}
    anchors = set()
    for heading in re.findall(
        r"^#{1,6} (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE
    ):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        anchors.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return anchors


def test_what_is_made_of_the_code_is_as_the_code_is() -> None:
    """`make docs` writes it anew."""
    made = []
    for page in _PAGES:
        text = page.read_text()
        assert written_anew(text, lambda: routes_of(application())) == text, page.name
        made += [name for _, name, _ in BLOCK.findall(text)]
    assert sorted(made) == sorted([*TABLES, "settings", "routes", "events"])


def test_every_verb_of_make_is_there_and_told() -> None:
    verbs = set(re.findall(r"^([a-z][a-z-]*):", _text("Makefile"), re.MULTILINE))
    said = re.compile(r"`make ([a-z-]+)`|^make ([a-z-]+)(?: +#.*)?$", re.MULTILINE)
    named = {one or other for page in _PAGES for one, other in said.findall(page.read_text())}
    assert len(named) > 8
    assert named <= verbs
    told = _text("CONTRIBUTING.md")
    for verb in verbs - {"setup", "format", "clean"}:
        assert f"`make {verb}`" in told or verb.startswith("bench-"), verb


def test_figures_of_sizing_are_those_that_were_measured() -> None:
    rows = re.findall(r"^\| .+ \| ([\d.,]+) \| `(\w+\.json)` `(\w+)` \|$", _text("docs/running.md"), re.MULTILINE)
    assert len(rows) > 10
    for figure, file, key in rows:
        measured = orjson.loads((ROOT / "benchmarks" / "results" / file).read_bytes())[key]
        assert float(figure.replace(",", "")) == pytest.approx(measured, rel=0.02), key


def test_links_lead_somewhere() -> None:
    for page in [*_PAGES, ROOT / "CHANGELOG.md"]:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)", page.read_text()):
            place = page.parent / target if target else page
            assert place.exists(), f"{page.name}: {target}"
            assert not anchor or place.suffix != ".md" or anchor in _anchors(place), f"{page.name}: {target}#{anchor}"


def test_every_parameter_of_points_is_documented() -> None:
    text = _text("docs/history.md")
    for name in question.OWN_PARAMETERS:
        assert re.search(rf"^\|(?: `\w+`,)? `{name}`(?:, `\w+`)? \| ", text, re.MULTILINE), name
    for value in (*COMPARES, *question.FILLS, *question.FORMATS, *question.SHAPES):
        assert f"`{value}`" in text, value
