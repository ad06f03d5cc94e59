"""Answers that last for a moment: every screen asks the same, so an answer is worked out once in so long."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

MOST_ANSWERS = 8
"""A large table is some 6 MB, so few are kept."""


class Lasting(Generic[T]):
    """What was last answered to each question about one thing. Nobody else works out the same meanwhile."""

    def __init__(self, clock: Callable[[], float], lasting_s: Callable[[], float]) -> None:
        self._clock = clock
        self._lasting_s = lasting_s
        self._lock = threading.Lock()
        self._known: dict[Any, tuple[float, T]] = {}

    def of(self, question: Any, work_out: Callable[[], T]) -> T:
        with self._lock:
            lasting_s = self._lasting_s()
            at_s, answer = self._known.get(question, (-math.inf, None))
            if answer is None or self._clock() - at_s >= lasting_s:
                answer = work_out()
                now_s = self._clock()
                fresh = {asked: known for asked, known in self._known.items() if now_s - known[0] < lasting_s}
                self._known = (fresh if len(fresh) < MOST_ANSWERS else {}) | {question: (now_s, answer)}
            return answer
