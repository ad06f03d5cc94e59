"""The metrics whose points the model of churn gives: a point of each series a day, final when it is given."""

from __future__ import annotations

from stream.metrics import GivenMetric, given

CHURN = "churn"
"""Who gives them, and the key of the stage that does."""
WINDOW = "1d"
PEOPLE, MOVES, MEAN = "churn_people", "churn_moves", "churn_mean"
QUALITY, RELIABILITY = "churn_quality", "churn_reliability"
QUALITIES = (
    "auc",
    "auc_recency",
    "log_loss",
    "log_loss_recency",
    "log_loss_base",
    "ece",
    "base_rate",
)
"""What `churn_quality` has, as far as it is known."""


def churn_metrics(settle_ms: int, *, segments: bool) -> list[GivenMetric]:
    """`settle_ms`: how long after the end of a day its scores are made."""

    def one(name: str, title: str, description: str, by: list[str], values: tuple[str, ...] = ()) -> GivenMetric:
        return given(
            name,
            CHURN,
            title=title,
            description=description,
            by=by,
            values=values,
            windows=[WINDOW],
            settles_ms=settle_ms,
        )

    return [
        one(
            PEOPLE,
            "People by risk of leaving",
            "Active people at the end of the day, by how likely they are to leave.",
            ["level", "segment"] if segments else ["level"],
        ),
        one(MOVES, "Changes of risk", "People whose level is another than the day before.", ["from", "to"]),
        one(MEAN, "Mean probability of leaving", "Over all active people at the end of the day.", []),
        one(
            QUALITY,
            "How good the scores are",
            "What was said, held against what became of it, beside baselines.",
            [],
            QUALITIES,
        ),
        one(
            RELIABILITY,
            "How true the probabilities are",
            "Of people of whom about the same was said: what was said, and how many left.",
            ["bin"],
            ("left", "said"),
        ),
    ]
