"""The online logistic regressions, beside river's own pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from river import compose, linear_model, optim, preprocessing

from models.logistic import CLIP, Logistics

ALPHAS = (0.05, 0.2)
FEATURES = 6
Rows = tuple[NDArray[np.float64], NDArray[np.bool_]]


def rows(seed: int, count: int) -> Rows:
    draw = np.random.default_rng(seed)
    found = draw.uniform(-1, 1, (count, FEATURES)) * [1, 10, 1e-3, 1e4, 1, 1] + [0, 5, 1, -1e5, 0, 3]
    found[:, 4] = draw.random(count) < 0.3
    truths = draw.random(count) < 1 / (1 + np.exp(-2 * found[:, 0] + 0.2 * found[:, 1] - found[:, 4]))
    return found, truths


def river(alpha: float) -> compose.Pipeline:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.FTRLProximal(alpha=alpha))


def test_it_is_rivers_pipeline_step_for_step() -> None:
    found, truths = rows(1, 3_000)
    ours = Logistics(FEATURES, ALPHAS)
    theirs = [river(alpha) for alpha in ALPHAS]
    draw = np.random.default_rng(2)
    at = 0
    while at < len(found):
        until = at + int(draw.integers(1, 40))
        batch, known = found[at:until], truths[at:until]
        said = 1 / (1 + np.exp(-ours.logits(batch)))
        for model, pipeline in enumerate(theirs):
            expected = [pipeline.predict_proba_one(dict(enumerate(row)))[True] for row in batch.tolist()]
            np.testing.assert_allclose(said[model], expected, rtol=0, atol=1e-9)
        ours.learn(batch, known)
        for pipeline in theirs:
            for row, truth in zip(batch.tolist(), known.tolist(), strict=True):
                pipeline.learn_one(dict(enumerate(row)), truth)
        at = until
    for model, pipeline in enumerate(theirs):
        regression = pipeline["LogisticRegression"]
        np.testing.assert_allclose(ours.weights[model], [regression.weights[at] for at in range(FEATURES)], atol=1e-9)
        assert ours.intercepts[model] == pytest.approx(regression.intercept, abs=1e-9)


def test_an_unknown_value_stands_for_the_mean_and_teaches_nothing() -> None:
    found, truths = rows(3, 500)
    known, holed = Logistics(FEATURES, ALPHAS), Logistics(FEATURES, ALPHAS)
    known.learn(found, truths)
    holed.learn(found, truths)
    row = found[:1].copy()
    row[0, 1] = np.nan
    mean = found[:1].copy()
    mean[0, 1] = found[:, 1].mean()
    assert holed.logits(row) == pytest.approx(known.logits(mean), abs=1e-9)
    weights = holed.weights[:, 1].copy()
    for unknown in (np.nan, np.inf, -np.inf):
        row[0, 1] = unknown
        holed.learn(row, truths[:1])
    after = holed.scaled(found, 0)[:, 1], known.scaled(found, 0)[:, 1]
    np.testing.assert_array_equal(*after)
    # The weights themselves lag by a step, as river's do: the first row without news still brings the last news.
    assert np.abs(holed.weights[:, 1] - weights).max() < 0.02
    weights = holed.weights[:, 1].copy()
    holed.learn(row, truths[:1])
    np.testing.assert_array_equal(holed.weights[:, 1], weights)


def test_a_feature_that_appears_late_is_learned() -> None:
    found, truths = rows(4, 4_000)
    found[:2_000, 0] = np.nan
    model = Logistics(FEATURES, ALPHAS)
    model.learn(found[:2_000], truths[:2_000])
    assert not model.weights[:, 0].any()
    model.learn(found[2_000:], truths[2_000:])
    assert (model.weights[:, 0] > 0.5).all()


def test_one_absurd_value_does_not_spoil_a_feature() -> None:
    found, truths = rows(5, 2_000)
    model = Logistics(FEATURES, ALPHAS)
    model.learn(found, truths)
    before = model.scaled(found, 0)
    absurd = found[:1].copy()
    absurd[:] = 1e300
    model.learn(absurd, truths[:1])
    assert np.abs(model.scaled(absurd, 0)).max() == CLIP
    np.testing.assert_allclose(model.scaled(found, 0), before, atol=0.05)


def test_a_constant_says_nothing() -> None:
    found, truths = rows(6, 300)
    found[:, 3] = 1 / 3
    model = Logistics(FEATURES, ALPHAS)
    model.learn(found.astype(np.float32), truths)
    assert not model.weights[:, 3].any()


def test_a_model_that_begins_anew_is_a_new_one() -> None:
    found, truths = rows(7, 400)
    model, new = Logistics(FEATURES, ALPHAS), Logistics(FEATURES, ALPHAS)
    model.learn(found, truths)
    kept = model.logits(found)[0]
    model.begin(1, ALPHAS[1])
    np.testing.assert_array_equal(model.logits(found)[0], kept)
    model.learn(found, truths)
    new.learn(found, truths)
    np.testing.assert_array_equal(model.logits(found)[1], new.logits(found)[1])


def test_it_goes_on_as_if_it_had_not_been_stored() -> None:
    found, truths = rows(8, 600)
    found[::7, 2] = np.nan
    kept, stored = Logistics(FEATURES, ALPHAS), Logistics(FEATURES, ALPHAS)
    for at in range(0, 600, 50):
        kept.learn(found[at : at + 50], truths[at : at + 50])
        stored.learn(found[at : at + 50], truths[at : at + 50])
        stored = Logistics.from_state(stored.to_state())
        np.testing.assert_array_equal(kept.logits(found), stored.logits(found))


def test_what_is_said_of_a_row_does_not_depend_on_the_others() -> None:
    found, truths = rows(9, 500)
    model = Logistics(FEATURES, ALPHAS)
    model.learn(found, truths)
    together = model.logits(found)
    apart = np.concatenate([model.logits(found[at : at + 1]) for at in range(500)], axis=1)
    np.testing.assert_array_equal(together, apart)


def test_two_models_learn_faster_than_one_of_river() -> None:
    found, truths = rows(10, 1_000)
    wide = np.tile(found, 5)[:, :28]
    pipeline, ours = river(0.05), Logistics(28, ALPHAS)
    listed = [dict(enumerate(row)) for row in wide.tolist()]

    def rivers() -> None:
        for row, truth in zip(listed, truths.tolist(), strict=True):
            pipeline.learn_one(row, truth)

    def timed(learn: Callable[[], None]) -> float:
        begun = time.process_time()
        learn()
        return time.process_time() - begun

    assert min(timed(lambda: ours.learn(wide, truths)) for _ in range(3)) < min(timed(rivers) for _ in range(3))
