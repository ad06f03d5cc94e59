from __future__ import annotations

from live_api.people.funnel import table
from stream.people.funnel import WITHIN, Funnel, Step

from .people import funnel, ms, point


def test_a_funnel_as_it_is_shown() -> None:
    people = [point("upgrade_people", "total", 0, n, step=str(step)) for step, n in ((1, 40), (2, 30), (3, 3))]
    seconds = [
        point("upgrade_seconds", "total", 0, {"p50": 5.0, "p90": 60.5, "p99": 70.0}, step="2"),
        point("upgrade_seconds", "total", 0, {"p50": 90.0, "p90": 600.0, "p99": 600.0}, step="all"),
        point("upgrade_seconds", "total", 0, None, step="3"),
    ]
    within = [
        point("upgrade_within", "total", 0, n, step=step, within=text)
        for step, text, n in (
            ("2", "more", 1),
            ("2", "1h", 2),
            ("2", "10s", 7),
            ("2", "1m", 20),
            ("2", "1d", 0),
            ("all", "30m", 3),
        )
    ]
    assert table(funnel(), None, people, seconds, within) == {
        "order": "ordered",
        "window": "14d",
        "period": "total",
        "start": None,
        "steps": [
            {
                "step": 1,
                "name": "Home",
                "people": 40,
                "share": 1.0,
                "from_previous": None,
                "drop_off": 0,
                "seconds": None,
                "histogram": [],
            },
            {
                "step": 2,
                "name": "NextSong",
                "people": 30,
                "share": 0.75,
                "from_previous": 0.75,
                "drop_off": 10,
                "seconds": {"p50": 5.0, "p90": 60.5},
                "histogram": [
                    {"within": "10s", "people": 7},
                    {"within": "1m", "people": 20},
                    {"within": "1h", "people": 2},
                    {"within": "more", "people": 1},
                ],
            },
            {
                "step": 3,
                "name": "Upgrade",
                "people": 3,
                "share": 0.075,
                "from_previous": 0.1,
                "drop_off": 27,
                "seconds": None,
                "histogram": [],
            },
        ],
        "conversion": 0.075,
        "overall_seconds": {"p50": 90.0, "p90": 600.0},
        "overall_histogram": [{"within": "30m", "people": 3}],
    }


def test_a_breakdown_adds_up_and_has_the_largest_first() -> None:
    people = [
        point("upgrade_people", "total", 0, n, step=step, breakdown=value)
        for step, value, n in (
            ("1", "free", 2),
            ("1", "paid", 6),
            ("2", "paid", 3),
            ("1", "gone", 0),
            ("__other__", "__other__", 9),
        )
    ]
    found = table(funnel("upgrade", "Home", "Song", breakdown="level"), None, people, [], [])
    assert [step["people"] for step in found["steps"]] == [8, 3]
    assert found["breakdown"] == [
        {"value": "paid", "steps": [{"step": 1, "people": 6, "share": 1.0}, {"step": 2, "people": 3, "share": 0.5}]},
        {"value": "free", "steps": [{"step": 1, "people": 2, "share": 1.0}, {"step": 2, "people": 0, "share": 0.0}]},
    ]


def test_nobody_came() -> None:
    found = table(funnel(period="day"), ms("2026-05-04"), [], [], [])
    assert found["start"] == "2026-05-04T00:00:00Z"
    assert found["conversion"] is None
    assert [(step["people"], step["share"], step["drop_off"]) for step in found["steps"]] == [(0, None, 0)] * 3
    assert "breakdown" not in found


def test_thirty_steps_are_in_order() -> None:
    names = [f"s{number}" for number in range(1, 31)]
    people = [point("upgrade_people", "total", 0, 100 - n, step=str(n)) for n in range(1, 31)]
    found = table(funnel("upgrade", *names), None, people[::-1], [], [])
    assert [(step["name"], step["people"]) for step in found["steps"]] == [(f"s{n}", 100 - n) for n in range(1, 31)]


def test_what_the_catalog_declares_is_enough() -> None:
    steps = [Step(name="Home", where="page = 'Home'"), Step(name="Pay", where="page = 'Pay'")]
    declared = Funnel(name="buy", steps=steps, period="week", breakdown="plan")
    by = {metric["name"]: metric.get("by") for metric in declared.metrics()}
    assert by["buy_people"] == ["step", "breakdown"]
    assert (by["buy_seconds"], by["buy_within"]) == (["step"], ["step", "within"])
    people = [point("buy_people", "week", "2026-05-04", 3, step="1", breakdown="free")]
    within = [point("buy_within", "week", "2026-05-04", 1, step="2", within=text) for text in WITHIN[::-1]]
    found = table(declared, ms("2026-05-04"), people, [], within)
    assert [step["name"] for step in found["steps"]] == ["Home", "Pay"]
    assert [one["within"] for one in found["steps"][1]["histogram"]] == list(WITHIN)
    assert [one["value"] for one in found["breakdown"]] == ["free"]
