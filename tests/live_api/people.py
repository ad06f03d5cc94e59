"""Analyses as a catalog declares them, and points of their metrics, for tests of the tables made of them."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from sinks.records import Point, State, Value

UTC_ZONE = ZoneInfo("UTC")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def ms(text: str) -> int:
    """`2026-05-04` or `2026-05-04T10:00`, UTC, in epoch milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


def point(
    metric: str,
    window: str,
    start: str | int,
    value: Value,
    *,
    state: State = State.FINAL,
    watermark_ms: int = 0,
    **dimensions: str,
) -> Point:
    start_ms = start if isinstance(start, int) else ms(start)
    named = tuple((name.rstrip("_"), text) for name, text in dimensions.items())
    return Point(metric, window, start_ms, named, value, 1, state, 1, watermark_ms)


def retention(name: str = "weekly", **over: Any) -> SimpleNamespace:
    labels = over.pop("labels", ["0", "1", "2"])
    declared = {
        "name": name,
        "title": None,
        "period": "week",
        "mode": "on",
        "rolling": False,
        "cells": SimpleNamespace(labels=labels),
        "length_ms": 7 * DAY_MS,
        "segmented": False,
        "did": None,
        "within_ms": 7 * DAY_MS,
        "revenue": None,
    }
    return SimpleNamespace(**declared | over)


def funnel(name: str = "upgrade", *steps: str, **over: Any) -> SimpleNamespace:
    declared = {
        "name": name,
        "title": None,
        "steps": [SimpleNamespace(name=step) for step in steps or ("Home", "NextSong", "Upgrade")],
        "order": "ordered",
        "window": "14d",
        "breakdown": None,
        "period": "total",
    }
    return SimpleNamespace(**declared | over)
