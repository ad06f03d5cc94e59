from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.agents import UNKNOWN, Agent, Agents

AGENTS = Agents()
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("text", "agent"),
    [
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/112.0 Safari/537.36 Edg/112",
            Agent("desktop", "Edge", "Windows", False),
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
            ("desktop", "Firefox", "Linux", False),
        ),
        (
            f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/112.0 Safari/537.36",
            ("desktop", "Chrome", "Chrome OS", False),
        ),
        (
            f"Mozilla/5.0 (Linux; Android 13; Pixel 7) {WEBKIT} Chrome/112.0.0.0 Mobile Safari/537.36",
            ("mobile", "Chrome Mobile", "Android", False),
        ),
        (
            f"Mozilla/5.0 (Linux; Android 13; SM-X700) {WEBKIT} Chrome/112.0.0.0 Safari/537.36",
            ("tablet", "Chrome", "Android", False),
        ),
        (
            f"Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) {WEBKIT} Version/16.0 Mobile/15E148 Safari/604.1",
            ("tablet", "Mobile Safari", "iOS", False),
        ),
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 16_0 like Mac OS X) {WEBKIT} Version/16.0 Mobile/15E148 Safari/604.1",
            ("mobile", "Mobile Safari", "iOS", False),
        ),
        (f"Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) {WEBKIT} TV Safari/538.1", ("other", "Safari", "Tizen", False)),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", ("bot", "Googlebot", None, True)),
        ("curl/8.0", ("bot", "curl", None, True)),
        ("something else", ("other", None, None, False)),
        ("  ", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_what_an_agent_says(text: str | None, agent: Agent) -> None:
    assert AGENTS.of(text) == agent


@given(text=st.text())
@settings(deadline=None, max_examples=50)
def test_any_text_is_taken(text: str) -> None:
    device = AGENTS.of(text).device
    assert device in ("desktop", "mobile", "tablet", "bot", "other", None)
