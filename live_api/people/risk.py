"""Who is likely to leave, as a table: how many of each level and segment, why, and how good the model has been."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sinks.records import iso
from sinks.score_records import Level, ModelStatus
from sinks.score_store import FALLING, Count, Ranked
from stream.people.features import Churn

MOST_FACTORS = 10
CHURN = "churn"
"""Name of the model."""


def levels(counts: Sequence[Count], declared: Churn) -> list[dict[str, Any]]:
    """A row for each level, the highest first, with what the catalog recommends. `declared` is its `[churn]`."""
    begins = {Level.HIGH: declared.high, Level.MEDIUM: declared.medium, Level.LOW: 0.0}
    all_people = sum(one.people for one in counts)
    rows = []
    for level in FALLING:
        of_level = [one for one in counts if one.level is level]
        people = sum(one.people for one in of_level)
        rows.append(
            {
                "level": level.value,
                "from": begins[level],
                "people": people,
                "share": people / all_people if all_people else None,
                "expected": sum(one.expected for one in of_level),
                "actions": list(getattr(declared.actions, level.value)),
            }
        )
    return rows


def segments(counts: Sequence[Count]) -> list[dict[str, Any]]:
    """A row for each segment, those with most people of a high level first."""
    people: dict[str, Counter[Level]] = {}
    expected: dict[str, float] = {}
    for one in counts:
        people.setdefault(one.segment, Counter())[one.level] += one.people
        expected[one.segment] = expected.get(one.segment, 0.0) + one.expected
    rows = [
        {
            "segment": segment,
            "people": sum(found.values()),
            "expected": expected[segment],
            **{level.value: found[level] for level in FALLING},
        }
        for segment, found in people.items()
    ]
    return sorted(rows, key=lambda row: (-row["high"], -row["medium"], row["segment"]))


def factors(ranked: Iterable[Ranked]) -> list[dict[str, Any]]:
    """What speaks for leaving most often: of how many of these people it is among the strongest, and how strong."""
    people: Counter[str] = Counter()
    strength: dict[str, float] = {}
    words: dict[str, Counter[str]] = {}
    for one in ranked:
        for factor in one.score.factors:
            if factor.contribution > 0:
                people[factor.name] += 1
                strength[factor.name] = strength.get(factor.name, 0.0) + factor.contribution
                words.setdefault(factor.name, Counter())[factor.words] += 1
    found = sorted(people, key=lambda name: (-people[name], name))[:MOST_FACTORS]
    return [
        {
            "name": name,
            "words": words[name].most_common(1)[0][0],
            "people": people[name],
            "contribution": strength[name] / people[name],
        }
        for name in found
    ]


def person(ranked: Ranked) -> dict[str, Any]:
    """One person's score in public."""
    return ranked.score.to_json() | {"changed": iso(ranked.changed_ms)}


def summary(status: ModelStatus | None) -> str:
    """How good the model of churn has been, in one line."""
    if status is None or not status.version:
        return "the model has not begun: it makes its first scores at the end of a day"
    quality = status.quality
    labels = _number(quality, "labels") or status.samples
    if not labels:
        return "unproven: nobody's answer is known yet"
    model, recency = _number(quality, "auc"), _number(quality, "auc_recency")
    if model is None:
        said = ["only people who stayed, or only people who left, so far"]
    else:
        said = [f"AUC {model:.3f}" + ("" if recency is None else f" (time since the last event alone: {recency:.3f})")]
    ece = _number(quality, "ece")
    if ece is not None:
        said.append(f"what it says is off by {100 * ece:.1f} points")
    rate = _number(quality, "base_rate")
    if rate is not None:
        said.append(f"{100 * rate:.0f}% left")
    verdict = "proven" if status.proven else "unproven: not shown to be better than the time since the last event"
    return f"{verdict}; {', '.join(said)}; {status.samples:,} answers"


def _number(quality: Mapping[str, Any], name: str) -> float | None:
    found = quality.get(name)
    is_number = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
    return found if is_number else None
