"""Texts as small numbers: what people analyses keep of pages, devices and other labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import polars as pl

from sinks.records import MISSING, OTHER
from stream.arrays import Ints
from stream.grouping import numbered
from stream.labels import labels_of

logger = logging.getLogger(__name__)

NONE = 0
"""The number of `__none__`: no text."""
MOST_TEXTS = 1_000_000
_FEW = 300
"""Up to so many are looked up sooner one by one than natively."""


class Vocabulary:
    """Numbers texts from 0 in order of appearance. Past a million, all that are new are `__other__`."""

    def __init__(self, texts: Sequence[str] = (), most: int = MOST_TEXTS) -> None:
        """`texts`: of another, whose numbers they keep."""
        self._most = most
        self._is_full = False
        self._numbers = {text: number for number, text in enumerate(texts)}
        self.texts = list(texts)
        """The text of each number."""
        self.code(MISSING)
        self._other = self.code(OTHER)

    def __len__(self) -> int:
        return len(self.texts)

    def code(self, text: str) -> int:
        """The number of one text."""
        found = self._numbers.get(text)
        if found is not None:
            return found
        if len(self.texts) >= self._most:
            if not self._is_full:
                self._is_full = True
                logger.warning("people: more than %d different texts; what is new counts as %s", self._most, OTHER)
            return self._other
        self._numbers[text] = len(self.texts)
        self.texts.append(text)
        return len(self.texts) - 1

    def codes(self, column: pl.Series) -> Ints:
        """The number of each text of a column (n); 0 where there is none."""
        labels = labels_of(column)
        return np.array([self.code(text) for text in labels.texts], dtype=np.int64)[labels.codes]

    def column(self, codes: Ints) -> pl.Series:
        """The texts of numbers (n)."""
        if len(codes) <= _FEW:
            return pl.Series([self.texts[code] for code in codes.tolist()], dtype=pl.String())
        different, place = numbered(codes)
        return pl.Series([self.texts[code] for code in different.tolist()], dtype=pl.String()).gather(place)
