from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.records import Reason
from stream.batches import RawBatch
from stream.catalog import CatalogError, parse
from stream.decode import Decoder
from stream.enrich import Enricher
from stream.enrichment import Enrichment
from stream.geo import Geo
from stream.pipeline import Pipeline
from stream.plan import compile_plan, planned
from tests.batches import T0, data_batch, plan_of, pseudonyms
from tests.geo import BERLIN, PARIS, make_geo

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
ENRICH = """
[enrich]
user_agent = "user_agent"
ip = "net.ip"
url = "url"
referrer = "referrer"
"""
WEB = """
[event]
time = "t"
person = "user"
id = "id"
[[metric]]
name = "visits"
measure = "count"
by = ["browser", "os", "device"]
windows = ["1d"]
[[metric]]
name = "places"
measure = "count"
by = ["country", "region"]
windows = ["1d"]
[[metric]]
name = "sources"
measure = "count"
by = ["channel", "referrer_host", "campaign_source"]
windows = ["1d"]
"""
PLAN = plan_of(WEB + ENRICH)
EVENT = {
    "t": T0,
    "user": "ann",
    "user_agent": FIREFOX,
    "net": {"ip": BERLIN},
    "url": "https://a.example/?utm_source=letter&token=secret",
    "referrer": "https://google.com/",
}


@pytest.fixture
def geo(tmp_path: Path) -> Geo:
    return Geo(make_geo(tmp_path / "geo.mmdb"))


def counted(events: list[Any], catalog: str = WEB + ENRICH, *, shards: int = 2, geo: Geo | None = None) -> Pipeline:
    pipeline = Pipeline(plan_of(catalog, builtin=True), pseudonyms(), shards=shards, whole_input=True, geo=geo)
    pipeline.add(data_batch(events), T0)
    return pipeline


def values(pipeline: Pipeline, metric: str) -> dict[tuple[str, ...], Any]:
    points = pipeline.finish(T0).live
    return {tuple(v for _, v in p.dimensions): p.value for p in points if p.metric == metric}


def test_fields_are_worked_out_of_others(geo: Geo) -> None:
    (part,) = Enricher(PLAN, pseudonyms(), 1, geo).split(Decoder(PLAN).decode(data_batch([EVENT]), T0))
    row = {name: value for name, value in part.frame.row(0, named=True).items() if not name.startswith("\n")}
    assert row == {
        **{"t": T0, "user": pseudonyms().of("ann"), "id": None},
        **{"browser": "Firefox", "os": "Linux", "device": "desktop", "country": "DE", "region": "DE-BE"},
        **{"channel": "campaign", "referrer_host": "google.com", "campaign_source": "letter"},
    }


def test_what_an_event_says_itself_stands(geo: Geo) -> None:
    own = {"browser": "Mosaic", "country": "XX", "region": "", "channel": None, "referrer_host": "r.example"}
    (part,) = Enricher(PLAN, pseudonyms(), 1, geo).split(Decoder(PLAN).decode(data_batch([{**EVENT, **own}]), T0))
    names = ("browser", "os", "country", "region", "channel", "referrer_host")
    assert part.frame.select(names).row(0) == ("Mosaic", "Linux", "XX", "DE-BE", "campaign", "r.example")


def test_without_sources_nothing_is_known() -> None:
    (part,) = Enricher(PLAN, pseudonyms(), 1).split(Decoder(PLAN).decode(data_batch([{"t": T0}]), T0))
    assert set(part.frame.select("browser", "os", "device", "country", "channel", "referrer_host").row(0)) == {None}


@given(
    events=st.lists(
        st.fixed_dictionaries(
            {"t": st.integers(T0 - 5, T0)},
            optional={
                "user_agent": st.sampled_from([FIREFOX, BOT, "", "x", None]),
                "browser": st.sampled_from(["Mosaic", "", None]),
                "is_bot": st.sampled_from([True, False, None, "true"]),
                "user": st.sampled_from(["ann", "bob"]),
            },
        ),
        max_size=12,
    ),
    natively=st.sampled_from([1, 1_000_000]),
    shards=st.integers(1, 3),
)
@settings(deadline=None, max_examples=25)
def test_an_event_means_the_same_alone_as_among_others(events: list[Any], natively: int, shards: int) -> None:
    decoder, enricher = Decoder(PLAN, natively_from=natively), Enricher(PLAN, pseudonyms(), shards)

    def rows(some: list[Any]) -> list[Any]:
        parts = enricher.split(decoder.decode(data_batch(some), T0))
        return sorted((row for part in parts for row in part.frame.select("browser", "os", "device").rows()), key=str)

    alone = [row for event in events for row in rows([event])]
    assert rows(events) == sorted(alone, key=str)
    expected = 0
    for event in events:
        own = event.get("is_bot")
        expected += own in (True, "true") or (own is None and event.get("user_agent") == BOT)
    assert enricher.left_out[Reason.BOT] == 2 * expected
    assert len(alone) == len(events) - expected


def test_the_address_is_in_no_part(geo: Geo) -> None:
    for part in Enricher(PLAN, pseudonyms(), 2, geo).split(Decoder(PLAN).decode(data_batch([EVENT] * 3), T0)):
        assert "net.ip" not in part.frame.columns
        assert BERLIN not in str(part.frame.rows()) + str(part.frame.columns)


@pytest.mark.parametrize("shards", [1, 3])
def test_bots_are_refused_and_counted(shards: int) -> None:
    agents = [FIREFOX, BOT, "", BOT, FIREFOX]
    events = [{"t": T0 + at, "user": f"u{at}", "id": str(at), "user_agent": one} for at, one in enumerate(agents)]
    pipeline = counted(events, shards=shards)
    assert pipeline.left_out == {Reason.BOT: 2}
    points = pipeline.finish(T0).live
    visits = {tuple(v for _, v in p.dimensions): p.value for p in points if p.metric == "visits"}
    assert visits == {("Firefox", "Linux", "desktop"): 2, ("__none__", "__none__", "__none__"): 1}
    assert {p.value for p in points if p.metric == "streamgauge_rejects" and p.dimensions == (("reason", "bot"),)} == {
        2
    }


def test_marked_bots_count() -> None:
    catalog = WEB.replace('by = ["browser", "os", "device"]', 'by = ["is_bot", "device"]\nwhere = "is_bot IS NOT NULL"')
    catalog += ENRICH + 'bots = "mark"\n'
    assert compile_plan(parse(catalog)).fields["is_bot"] == "boolean"
    events = [{"t": T0, "id": str(at), "user_agent": agent} for at, agent in enumerate([FIREFOX, BOT, BOT, ""])]
    assert values(counted(events, catalog), "visits") == {("true", "bot"): 2, ("false", "desktop"): 1}


def test_a_bot_is_not_remembered_as_seen() -> None:
    """Who comes with the same id later, and is none, counts."""
    pipeline = Pipeline(plan_of(WEB + ENRICH, dedupe=True), pseudonyms(), whole_input=True)
    for number, agent in enumerate([BOT, FIREFOX, FIREFOX]):
        pipeline.add(data_batch([{"t": T0, "id": "1", "user_agent": agent}], first=number), T0)
    assert (pipeline.left_out, pipeline.duplicates) == ({Reason.BOT: 1}, 1)
    assert values(pipeline, "visits") == {("Firefox", "Linux", "desktop"): 1}


def test_a_bot_says_how_far_the_stream_has_come() -> None:
    decoded = Decoder(PLAN).decode(data_batch([{"t": T0, "user_agent": BOT}]), T0)
    (part,) = Enricher(PLAN, pseudonyms(), 1).split(decoded)
    assert (part.max_event_ms, part.frame.height, part.rejects) == (T0, 0, [(Reason.BOT, T0)])


SAMPLED = """
[event]
time = "t"
person = "user"
id = "id"
[platform]
streams = ["a", "b"]
[[metric]]
name = "n"
measure = "count"
windows = ["1d"]
[[metric]]
name = "people"
measure = "distinct"
value = '"user"'
windows = ["1d"]
[sampling]
a = 0.3
"""


@pytest.mark.parametrize("shards", [1, 3])
def test_whole_persons_are_sampled_over_any_shards_and_batches(shards: int) -> None:
    people = [f"person {number}" for number in range(200)]
    plan = plan_of(SAMPLED)
    pipeline = Pipeline(plan, pseudonyms(), shards=shards, whole_input=True)
    for round_ in range(5):
        events = [{"t": T0, "user": user, "id": f"{round_} {user}"} for user in people]
        pipeline.add(data_batch(events[::-1] if round_ % 2 else events, stream="a"), T0)
    points = {p.metric: p.value for p in pipeline.finish(T0).live if not p.dimensions}
    assert points["n"] == 5 * points["people"]
    assert points["people"] == 57
    assert pipeline.left_out == {Reason.SAMPLED_OUT: 1_000 - points["n"]}


def test_a_pseudonym_made_at_the_door_is_sampled_as_the_person() -> None:
    plan = plan_of(SAMPLED)
    for user in ("ann", "bob", "cid", "dan", "eve"):
        found = []
        for text in (user, f"~{pseudonyms().of(user)}"):
            parts = Enricher(plan, pseudonyms(), 3).split(
                Decoder(plan).decode(data_batch([{"user": text}], stream="a"), T0)
            )
            found.append([part.frame.height for part in parts])
        assert found[0] == found[1]


def test_events_of_nobody_are_sampled_by_themselves_and_other_streams_not() -> None:
    events = [{"t": T0, "id": str(number)} for number in range(300)]
    for stream, expected in (("a", 88), ("b", 300)):
        pipeline = Pipeline(plan_of(SAMPLED), pseudonyms(), shards=2, whole_input=True)
        pipeline.add(data_batch(events, stream=stream), T0)
        assert values(pipeline, "n") == {(): expected}
        # As when it is read again after a crash.
        again = Pipeline(plan_of(SAMPLED), pseudonyms(), shards=1, whole_input=True)
        for number, event in enumerate(events):
            again.add(data_batch([event], stream=stream, first=number), T0)
        assert values(again, "n") == {(): expected}


def test_late_events_keep_their_bytes_where_others_are_left_out() -> None:
    catalog = WEB.replace('time = "t"', 'time = "t"\nallowed_lateness = "1s"\nmax_skew = "1h"') + ENRICH
    pipeline = Pipeline(plan_of(catalog), pseudonyms(), shards=2)
    pipeline.add(data_batch([{"t": T0, "user_agent": FIREFOX}]), T0)
    late = [{"t": T0 - 60_000 + at, "id": str(at), "user_agent": BOT if at % 2 else FIREFOX} for at in range(6)]
    letters = pipeline.add(data_batch(late, first=1), T0)
    assert sorted(json.loads(letter.raw)["id"] for letter in letters) == ["0", "2", "4"]


def test_the_frame_of_a_request_is_enough(geo: Geo) -> None:
    assert PLAN.enrich is not None
    enrichment = Enrichment(PLAN.enrich, geo)
    frame = pl.DataFrame(
        {"net.ip": [BERLIN, PARIS, None], "user_agent": [FIREFOX, BOT, None], "country": ["", "X", ""]}
    )
    found = enrichment.columns(frame)
    assert found["country"].to_list() == ["DE", "X", None]
    assert found["is_bot"].to_list() == [False, True, None]
    assert enrichment.bots(found).tolist() == [False, True, False]


def test_metrics_that_read_nothing_of_it_keep_their_state() -> None:
    plain, enriched = compile_plan(parse(WEB)), compile_plan(parse(WEB + ENRICH))
    for name in ("visits", "places", "sources", "streamgauge_events"):
        assert planned(plain, name)[0].key == planned(enriched, name)[0].key
        assert planned(plain, name)[1] == planned(enriched, name)[1]


def test_only_what_is_read_is_worked_out_and_sources_are_not_kept() -> None:
    archived = compile_plan(parse(WEB + ENRICH + '[archive]\nfields = ["campaign"]\n'))
    assert archived.enrich is not None
    assert {"user_agent", "net.ip", "url", "referrer", "is_bot"}.isdisjoint(archived.fields)
    assert archived.enrich.gives == {
        *("browser", "os", "device", "country", "region", "channel", "referrer_host", "campaign_source"),
        *("campaign", "is_bot"),
    }
    assert compile_plan(parse(WEB)).enrich is None


METRIC = '[[metric]]\nname = "n"\nmeasure = "count"\n'


@pytest.mark.parametrize(
    ("catalog", "told"),
    [
        (f'{METRIC}by = ["ip"]\n[enrich]\nip = "ip"', r'metric\[0\] "n".by: expected a field other than the address'),
        (
            '[[metric]]\nname = "n"\nmeasure = "top_k"\nvalue = "ip"\n[enrich]\nip = "ip"',
            r'metric\[0\] "n".value: expected a field other than the address.*found \'ip\'',
        ),
        (
            f'{METRIC}[archive]\nfields = ["ip"]\n[enrich]\nip = "ip"',
            "archive.fields: expected a field other",
        ),
        (
            f'{METRIC}[fields]\nip = "string"\n[enrich]\nip = "ip"',
            r"\[fields\]: expected a field other",
        ),
        (
            f'{METRIC}[event]\nperson = "ip"\n[enrich]\nip = "ip"',
            "event.person: expected a field other",
        ),
        (
            f'{METRIC}[event]\nperson = "device"\n[enrich]\nuser_agent = "ua"',
            "event.person: expected a field that",
        ),
        (f'{METRIC}[enrich]\nuser_agent = "time"', "enrich.user_agent: expected a field other than the event's time"),
        (f'{METRIC}[enrich]\nuser_agent = "browser"', r"enrich.user_agent: expected a field that is not given"),
        (f'{METRIC}[fields]\nos = "number"\n[enrich]\nuser_agent = "ua"', r"\[fields\]: expected os as a string"),
        (f'{METRIC}[fields]\nua = "number"\n[enrich]\nuser_agent = "ua"', "enrich.user_agent: expected a string field"),
        (f'{METRIC}[sampling]\n"events:{{1}}" = 0.5', r"sampling: expected a stream.*did you mean events:\{0\}"),
        (f'{METRIC}[sampling]\n"events:{{0}}" = 0.0', r"sampling"),
    ],
)
def test_what_is_wrong_is_told(catalog: str, told: str) -> None:
    with pytest.raises(CatalogError, match=told):
        parse(catalog)


def test_without_enrich_its_names_are_ordinary_fields() -> None:
    assert (
        compile_plan(parse(f"{METRIC}by = ['browser', 'ip']\nwhere = \"is_bot = 'yes'\"")).fields["is_bot"] == "string"
    )


def test_no_batch_is_too_empty() -> None:
    parts = Enricher(PLAN, pseudonyms(), 2).split(Decoder(PLAN).decode(RawBatch("events:{0}", [], True, T0), T0))
    assert [part.frame.height for part in parts] == [0, 0]
