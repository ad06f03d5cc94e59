"""Detectors for tests of whatever only shows what detectors have found: they find nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import pytest

from models import registry
from models.base import Detector, Expected


class High(Detector):
    name = "test_high"
    cost_us = 1.0
    max_bytes = 100
    OPEN = 3.0
    learns = False
    warm = True
    expected: Expected | None = None
    why = ""

    def score_one(self, x: Mapping[Any, Any]) -> float:
        return 0.0

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        pass

    def to_state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        return cls()


class Low(High):
    name = "test_low"
    OPEN = 10.0
    orientation = -1


@contextmanager
def registered() -> Iterator[None]:
    """Catalogs know them meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        more = {one.name: f"{__name__}:{one.__name__}" for one in (High, Low)}
        known = {**registry.DETECTORS, **more}
        for module in ("models.registry", "stream.rules"):
            patch.setattr(f"{module}.DETECTORS", known)
        yield
