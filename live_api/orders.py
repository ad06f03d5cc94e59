"""What somebody says about alerts, as a request's body has it. Each function answers 400 for what cannot be meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fastapi import HTTPException

from live_api.asked import time_ms
from sinks.records import Dimensions
from stream.durations import DAY_MS, duration_ms

MOST_BY_CHARACTERS = 100
MOST_REASON_CHARACTERS = 1_000
LONGEST_SILENCE_MS = 30 * DAY_MS
"""A silence that nobody ends is to end while somebody still knows of it."""
_MOST_DIMENSIONS = 20


def author(body: Mapping[str, Any]) -> str:
    """Who says so."""
    by = _text(body, "by", MOST_BY_CHARACTERS)
    if "\n" in by:
        raise HTTPException(400, "by: expected one line")
    if not by:
        raise HTTPException(400, f"by: expected who says so, in 1 to {MOST_BY_CHARACTERS} characters; found none")
    return by


def reason(body: Mapping[str, Any], *, required: bool) -> str:
    """Why; empty where nothing is said and nothing has to be."""
    why = _text(body, "reason", MOST_REASON_CHARACTERS)
    if required and not why:
        raise HTTPException(400, "reason: expected one, for whoever wonders later; found none")
    return why


def silence_end(body: Mapping[str, Any], now_ms: int) -> int:
    """When a silence ends: `for` so long, or `until` a time; within 30 days."""
    if ("for" in body) == ("until" in body):
        raise HTTPException(400, 'expected "for", such as "2h", or "until", a time; found both or neither')
    if "for" in body:
        try:
            until_ms = now_ms + duration_ms(str(body["for"]))
        except ValueError as error:
            raise HTTPException(400, f"for: {error}") from None
    else:
        found = time_ms("until", str(body["until"]))
        assert found is not None
        until_ms = found
    if not now_ms < until_ms <= now_ms + LONGEST_SILENCE_MS:
        raise HTTPException(
            400, f"a silence ends within 30 days from now; found {body.get('for', body.get('until'))!r}"
        )
    return until_ms


def silenced(body: Mapping[str, Any], rules: Collection[str]) -> tuple[str | None, Dimensions]:
    """What a silence is about: one rule or all, and the dimensions that its series have."""
    rule = body.get("rule")
    if rule is not None and not (isinstance(rule, str) and rule in rules):
        raise HTTPException(400, f"rule: expected one of {', '.join(rules) or 'which there are none'}; found {rule!r}")
    dimensions = body.get("dimensions", {})
    if (
        not isinstance(dimensions, dict)
        or len(dimensions) > _MOST_DIMENSIONS
        or not all(isinstance(value, str) for value in dimensions.values())
    ):
        raise HTTPException(400, f"dimensions: expected an object of at most {_MOST_DIMENSIONS} texts")
    if rule is None and not dimensions:
        raise HTTPException(400, "expected a rule, dimensions or both, as a silence of everything hides everything")
    return rule, tuple(dimensions.items())


def _text(body: Mapping[str, Any], name: str, most: int) -> str:
    found = body.get(name)
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > most:
        raise HTTPException(400, f"{name}: expected a text of at most {most} characters")
    if any((character < " " and character != "\n") or character == "\x7f" for character in found):
        raise HTTPException(400, f"{name}: expected no control characters")
    return found.strip()
