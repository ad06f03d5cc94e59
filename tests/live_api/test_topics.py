from __future__ import annotations

import pytest

from live_api.protocol import ProtocolError

from .lines import TOPICS


@pytest.mark.parametrize(
    "topic",
    [
        "system",
        "alerts",
        "board:ops",
        "metric:orders",
        "metric:orders@1d",
        "metric:orders@1m{country=US}",
        "metric:sizes{b=1,a=2}",
        "metric:or*",
        "metric:*",
        "metric:*@1h",
        "metric:*{country=US}",
    ],
)
def test_what_is_there_may_be_asked_for(topic: str) -> None:
    assert TOPICS.checked([topic]) == {topic}


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("board:opps", "expected a board, one of ops"),
        ("metric:order", "expected a metric, one of orders"),
        ("metric:x*", "expected the beginning of a metric's name"),
        ("metric:orders@7s", "expected one of the windows 1m, 1d"),
        ("metric:*@7s", "expected one of the windows"),
        ("metric:orders{town=x}", "expected dimensions of country"),
        ("metric:revenue{country=x}", "expected dimensions of which there are none"),
        ("weather", "expected metric:NAME"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_what_is(topic: str, why: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        TOPICS.checked(["system", topic], 5)
    assert caught.value.code == "unknown_topic"
    assert why in str(caught.value)
    assert repr(topic) in str(caught.value)
