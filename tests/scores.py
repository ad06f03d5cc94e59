"""Scores of people and states of models, as tests need them."""

from __future__ import annotations

from typing import Any

from sinks.score_records import Factor, Level, ModelStatus, PersonScore

DAY_MS = 86_400_000
AS_OF_MS = 1_780_272_000_000
"""1 June 2026."""
QUALITY = {
    "auc": 0.891,
    "auc_recency": 0.842,
    "log_loss": 0.402,
    "log_loss_recency": 0.467,
    "log_loss_base": 0.618,
    "ece": 0.013,
    "base_rate": 0.31,
    "labels": 8_400.0,
    # Of each tenth in which anybody was.
    "reliability": [{"rows": 840.0, "said": tenth / 10 + 0.05, "left": tenth / 10 + 0.06} for tenth in range(9)],
}
"""Of a model of churn."""
ADA, BOB, CID = "0a" * 16, "fe" * 16, "5c" * 16


def score(person: str = ADA, probability: float = 0.9, day: int = 0, **fields: Any) -> PersonScore:
    """What was said of a person so many days after `AS_OF_MS`."""
    level = Level.HIGH if probability >= 0.8 else Level.MEDIUM if probability >= 0.5 else Level.LOW
    said: dict[str, Any] = {
        "person": person,
        "as_of_ms": AS_OF_MS + day * DAY_MS,
        "horizon_ms": 30 * DAY_MS,
        "probability": probability,
        "level": level,
        "proven": True,
        "confidence": 0.97,
        "logit": 2.2,
        "intercept": -0.4,
        "factors": (
            Factor("days_since_last", 1.7, "has been away for longer than usual"),
            Factor("posts", 0.6, "posts less than before"),
            Factor("exchanges", -0.2, "more exchanges succeed than before"),
        ),
        "rest": 0.5,
        "segment": "often, of late",
        "actions": ("offer a voucher",),
        "version": 3,
    }
    return PersonScore(**said | fields)


def status(name: str = "churn", day: int = 0, **fields: Any) -> ModelStatus:
    """How a model stood so many days after `AS_OF_MS`."""
    said: dict[str, Any] = {
        "name": name,
        "kind": name.partition(" ")[0],
        "at_ms": AS_OF_MS + day * DAY_MS,
        "version": 3,
        "samples": 12_345,
        "proven": True,
        "state_bytes": 6_100,
        "quality": QUALITY,
    }
    return ModelStatus(**said | fields)
