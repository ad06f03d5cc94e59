from __future__ import annotations

from live_api.described import described
from stream.catalog import parse

CATALOG = """
[event]
person = "user_id"
[ingest]
cookieless = {cookieless}
[actives]
[[metric]]
name = "views"
measure = "count"
description = "Pages."
"""


def test_numbers_of_people_say_when_visitors_are_new_each_day() -> None:
    plain = described(parse(CATALOG.format(cookieless="false")))
    told = described(parse(CATALOG.format(cookieless="true")))
    assert "new each day" not in str(plain)
    assert told["wau"]["description"] is not None
    assert "new each day" in told["wau"]["description"]
    assert told["views"]["description"] == plain["views"]["description"] == "Pages."
