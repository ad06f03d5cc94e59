"""river's half-space trees: how empty the corner is in which a row lies (Tan, Ting and Liu 2011)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from river.anomaly.hst import HalfSpaceTrees as Trees
from river.tree.padded import PaddedBranch, PaddedLeaf

from models.base import ModelError, whole
from models.featured import FEATURES, Featured

_TREES = 15
_HEIGHT = 6
_BRANCHES = 2**_HEIGHT - 1
_NODES = 2 ** (_HEIGHT + 1) - 1


class HalfSpaceTrees(Featured):
    """Mass of the leaf a row falls into, over 15 random trees of height 6 that are counted anew each `memory` / 4 rows.

    The 25 trees of height 15 of the paper would take megabytes a series; features here are few.
    """

    name: ClassVar[str] = "half_space_trees"
    cost_us: ClassVar[float] = 100.0
    max_bytes: ClassVar[int] = 26_000
    OPEN: ClassVar[float | None] = 30.0

    def __init__(self, memory: int = 1_000, seed: int = 1) -> None:
        self.memory = whole("memory", memory, 100, 100_000)
        self.seed = whole("seed", seed, 0, 2**32 - 1)
        self._trees = Trees(n_trees=_TREES, height=_HEIGHT, window_size=self.memory // 4, seed=self.seed)
        self._start()

    def _raw(self, features: dict[str, float]) -> float | None:
        if self._trees._first_window:
            return None
        # River's own scale ends at 1, near which all that is rare is crowded; the logarithm tells it apart. Under a
        # hundredth it would only tell apart by how few rows a corner was missed.
        return -math.log(max(0.01, 1.0 - self._trees.score_one(features)))

    def _learn(self, features: dict[str, float]) -> None:
        self._trees.learn_one(features)

    def _model_to_state(self) -> dict[str, Any]:
        """Trees in preorder: of each node what it splits, where, and its masses; leaves have only masses."""
        return {
            "counter": self._trees.counter,
            "first": self._trees._first_window,
            "trees": [
                {
                    "features": [FEATURES.index(node.feature) for node in nodes if isinstance(node, PaddedBranch)],
                    "thresholds": [node.threshold for node in nodes if isinstance(node, PaddedBranch)],
                    "left": [node.l_mass for node in nodes],
                    "right": [node.r_mass for node in nodes],
                }
                for nodes in self._trees._tree_nodes
            ],
        }

    def _model_from_state(self, state: dict[str, Any]) -> None:
        trees = self._trees
        trees.counter, trees._first_window = state["counter"], state["first"]
        if state["trees"] and len(state["trees"]) != _TREES:
            raise ModelError(f"expected {_TREES} trees, found {len(state['trees'])}")
        for tree in state["trees"]:
            sizes = [len(tree[key]) for key in ("features", "thresholds", "left", "right")]
            if sizes != [_BRANCHES, _BRANCHES, _NODES, _NODES]:
                raise ModelError(f"expected trees of {_BRANCHES} branches and {_NODES} nodes, found {sizes}")
            masses = zip(tree["left"], tree["right"], strict=True)
            splits = zip(tree["features"], tree["thresholds"], strict=True)
            trees.trees.append(_grown(_HEIGHT, splits, masses))
        trees._tree_nodes = [list(tree.iter_dfs()) for tree in trees.trees]


def _grown(height: int, splits: Any, masses: Any) -> Any:
    left_mass, right_mass = next(masses)
    if not height:
        leaf: Any = PaddedLeaf()
        leaf.l_mass, leaf.r_mass = left_mass, right_mass
        return leaf
    feature, threshold = next(splits)
    left = _grown(height - 1, splits, masses)
    right = _grown(height - 1, splits, masses)
    return PaddedBranch(left, right, FEATURES[feature], threshold, left_mass, right_mass)
