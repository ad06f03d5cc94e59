"""river's LODA: how rarely anything fell where a row falls, over histograms of random projections (Pevný 2016)."""

from __future__ import annotations

from typing import Any, ClassVar

from river.anomaly.loda import LODA
from river.sketch import Histogram
from river.sketch.histogram import Bin

from models.base import whole
from models.featured import FEATURES, Featured

_CUTS = 20
_BINS = 20
_FALL = 10.0
_LEAST_SPAN = 0.01
_NARROWEST = 0.01


class _Loda(LODA):
    @staticmethod
    def _density(histogram: Histogram, z: float) -> float:
        bins: list[Bin] = histogram.data
        low, high = 0, len(bins) - 1
        first, last = bins[low], bins[high]
        span = max(last.right - first.left, _LEAST_SPAN)
        outside = first.left - z if z < first.left else z - last.right
        if outside > 0:
            # As if half a row had ever fallen there, and further off the rarer.
            return float(0.5 / histogram.n / (span + _FALL * outside))
        while low < high:
            middle = (low + high) // 2
            if bins[middle].right < z:
                low = middle + 1
            else:
                high = middle
        if low and z < bins[low].left and z - bins[low - 1].right < bins[low].left - z:
            low -= 1
        own = bins[low]
        left = (bins[low - 1].right + own.left) / 2 if low else own.left
        right = (own.right + bins[low + 1].left) / 2 if own is not last else own.right
        return float(own.count / histogram.n / max(right - left, _NARROWEST * span))


class Loda(Featured):
    """Mean negative log density over 20 projections, each a histogram of 20 bins of its own widths.

    River's histograms never forget, and so a level that has passed would count for ever. Here counts are halved each
    `memory` rows, and bins with less than one left are dropped. And river finds what falls between two bins of narrow
    ones as rare as what lies beyond all: here a bin reaches half-way to the next.
    """

    name: ClassVar[str] = "loda"
    cost_us: ClassVar[float] = 170.0
    max_bytes: ClassVar[int] = 14_000
    OPEN: ClassVar[float | None] = 50.0

    def __init__(self, memory: int = 1_000, seed: int = 1) -> None:
        self.memory = whole("memory", memory, 100, 100_000)
        self.seed = whole("seed", seed, 0, 2**32 - 1)
        self._loda: Any = _Loda(n_bins=_BINS, n_random_cuts=_CUTS, seed=self.seed)
        self._rows = 0
        self._start()

    def _raw(self, features: dict[str, float]) -> float | None:
        return self._loda.score_one(features) if self._rows >= _BINS else None

    def _learn(self, features: dict[str, float]) -> None:
        self._loda.learn_one(features)
        self._rows += 1
        if self._rows >= self.memory + _BINS:
            self._rows = _BINS
            for histogram in self._loda.histograms_:
                _halve(histogram)

    def _model_to_state(self) -> dict[str, Any]:
        return {
            "rows": self._rows,
            "projections": [
                [[FEATURES.index(name), weight] for name, weight in projection.items()]
                for projection in self._loda.projections_
            ],
            "histograms": [
                {
                    "n": histogram.n,
                    "left": [each.left for each in histogram.data],
                    "right": [each.right for each in histogram.data],
                    "count": [each.count for each in histogram.data],
                }
                for histogram in self._loda.histograms_
            ],
        }

    def _model_from_state(self, state: dict[str, Any]) -> None:
        loda = self._loda
        self._rows = state["rows"]
        if not state["projections"]:
            return
        loda.features_ = sorted(FEATURES)
        loda.projections_ = [
            {FEATURES[index]: weight for index, weight in projection} for projection in state["projections"]
        ]
        for saved in state["histograms"]:
            histogram = Histogram(max_bins=_BINS)
            histogram.n = saved["n"]
            parts = zip(saved["left"], saved["right"], saved["count"], strict=True)
            histogram.data = [Bin(left, right, count) for left, right, count in parts]
            loda.histograms_.append(histogram)


def _halve(histogram: Histogram) -> None:
    for each in histogram.data:
        each.count /= 2
    histogram.data = [each for each in histogram.data if each.count >= 1]
    histogram.n = sum(each.count for each in histogram.data)
