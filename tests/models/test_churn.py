"""The churn model: what it must find, what it must say of itself, and that it is one thing however it is stored."""

from __future__ import annotations

import numpy as np
import pytest

from models.base import ModelError
from models.churn import STORED, WORDS, ChurnModel, PersonDays
from models.quality import DAY_MS
from tests.models.people import Days, live, people

HORIZON_DAYS = 7


@pytest.fixture(scope="module")
def days() -> Days:
    return people(seed=1, count=400, days=90, horizon_days=HORIZON_DAYS)


def model() -> ChurnModel:
    return ChurnModel(["depth", "noise"], horizon_ms=HORIZON_DAYS * DAY_MS, active_ms=14 * DAY_MS)


def test_it_is_better_than_recency_and_says_so(days: Days) -> None:
    found = model()
    live(found, days)
    quality = found.quality
    assert found.proven
    assert quality.model.auc > quality.recency.auc + 0.03
    assert quality.model.log_loss < quality.recency.log_loss < quality.constant.log_loss
    assert quality.ece < 0.05
    assert found.feature_names == (*WORDS, "depth", "noise")


def test_contributions_add_up_to_the_logit(days: Days) -> None:
    found = model()
    live(found, days)
    prepared = found.prepare(days[-1].people)
    scores = found.score(prepared)
    assert scores.stored.shape == (len(scores.logit), len(STORED))
    for features, logit in zip(prepared.features[:50], scores.logit[:50], strict=True):
        explained = found.explain(features)
        assert explained.logit == pytest.approx(logit, abs=1e-12)
        added = explained.intercept + explained.rest + sum(factor.contribution for factor in explained.factors)
        assert added == pytest.approx(explained.logit, abs=1e-12)
        sizes = [abs(factor.contribution) for factor in explained.factors]
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) == 5


def test_it_goes_on_as_if_it_had_not_been_stored(days: Days) -> None:
    kept = live(model(), days)
    stored = live(model(), days, stored_every=3)
    assert all(np.array_equal(one, other) for one, other in zip(kept, stored, strict=True))


def test_bytes_of_something_else_are_refused() -> None:
    raw = model().to_bytes()
    with pytest.raises(ModelError):
        ChurnModel.from_bytes(raw[:-1])
    with pytest.raises(ModelError):
        ChurnModel.from_bytes(raw.replace(b"churn", b"chirn"))


def test_shapes_that_do_not_fit_are_refused(days: Days) -> None:
    day = days[0].people
    with pytest.raises(ModelError, match=r"inputs: expected \(\d+, 2\)"):
        model().prepare(PersonDays(day.as_of_ms, day.first_ms, day.last_ms, day.events, day.days, day.inputs[:, :1]))
