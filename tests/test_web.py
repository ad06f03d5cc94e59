"""The ready catalog for web sites, over what its visitors send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sinks.records import Reason
from stream.catalog import load
from stream.geo import Geo
from streamgauge.compute import compute
from tests.geo import BERLIN, PARIS, make_geo

CATALOG = Path(__file__).parents[1] / "catalogs" / "web.toml"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 16_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.0 "
    "Mobile/15E148 Safari/604.1"
)
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
SITE = "https://shop.example"


def view(number: int, user: str, page: str, agent: str, address: str, referrer: str, tags: str = "") -> dict[str, Any]:
    return {
        **{"time": 1_767_225_600_000 + number * 1_000, "id": str(number), "user_id": user, "path": page},
        **{"url": f"{SITE}{page}{tags}", "referrer": referrer, "user_agent": agent, "ip": address},
    }


EVENTS = [
    view(0, "ann", "/", FIREFOX, BERLIN, "https://www.google.com/"),
    view(1, "ann", "/prices", FIREFOX, BERLIN, f"{SITE}/"),
    view(2, "bob", "/", IPHONE, PARIS, "", "?utm_source=letter&utm_medium=email&utm_campaign=may&token=secret"),
    view(3, "crawler", "/", BOT, PARIS, ""),
    view(4, "cid", "/", FIREFOX, "192.0.2.1", "https://blog.example/post?id=7"),
]


def test_visitors_are_counted_by_where_they_come_from(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(map(json.dumps, EVENTS)))
    geo = Geo(make_geo(tmp_path / "geo.mmdb"))
    points, refused, left_out, _ = compute(load(CATALOG), [file], b"k" * 32, geo=geo, quiet=True)
    assert (refused, left_out) == ([], {Reason.BOT: 1})

    def values(metric: str) -> dict[tuple[str, ...], Any]:
        found = [point for point in points if (point.metric, point.window) == (metric, "1d")]
        return {tuple(value for _, value in point.dimensions): point.value for point in found}

    assert values("pageviews") == {(): 4}
    assert values("visitors") == {(): 3}
    assert values("visitors_by_channel") == {("search",): 1, ("direct",): 1, ("email",): 1, ("referral",): 1}
    assert values("visitors_by_referrer") == {("google.com",): 1, ("blog.example",): 1}
    assert values("visitors_by_campaign") == {("may", "letter", "email"): 1}
    assert values("visitors_by_country") == {("DE",): 1, ("FR",): 1, ("__none__",): 1}
    assert values("visitors_by_device") == {
        ("desktop", "Linux", "Firefox"): 2,
        ("mobile", "iOS", "Mobile Safari"): 1,
    }
    assert values("top_pages") == {(): {"/": 3, "/prices": 1}}
    assert "secret" not in str(points)
