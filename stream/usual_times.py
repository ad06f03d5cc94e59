"""Times as nearly all producers write them, a whole column at once.

What is not of a usual form is left to `stream.convert`, which reads each by itself and gives the same for the others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from stream.arrays import Ints, Mask

Small = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

_OFFSET_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]+)?[+-][0-9]{2}:?[0-9]{2}$"
_MOST_DIGITS = 18
_MISSING = -1
_SECONDS_LENGTH = len("2015-09-12T00:00:00Z")
_UTC_LENGTHS = {_SECONDS_LENGTH, *range(len("2015-09-12T00:00:00.1Z"), len("2015-09-12T00:00:00.123456789Z") + 1)}
_FIXED = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":"}
_DAYS_TO_MONTH = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])
_DAYS_IN_MONTH = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def usual_times(texts: pl.Series) -> tuple[Ints, Mask]:
    """Epoch milliseconds of each text (n), and which of them were of a usual form (n); missing ones count as 0.

    Usual are ISO 8601 with `Z` or an offset, and whole numbers since the epoch. *Cost*: 0.1 µs each.
    """
    time_ms = np.zeros(len(texts), dtype=np.int64)
    texts = pl.Series("", texts)
    lengths = texts.to_frame().select(pl.col("").str.len_bytes().cast(pl.Int64).fill_null(_MISSING)).to_series()
    length_of = lengths.to_numpy()
    usual: Mask = length_of == _MISSING
    for length in np.unique(length_of).tolist():
        read = _utc if length in _UTC_LENGTHS else _epoch if 1 <= length <= _MOST_DIGITS else None
        if read is not None:
            rows = np.flatnonzero(length_of == length)
            own = texts if len(rows) == len(texts) else texts.gather(rows)
            time_ms[rows], usual[rows] = read(own, length)
    rest = np.flatnonzero(~usual)
    if len(rest):
        others = texts.gather(rest)
        parsed = others.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="ms", strict=False)
        dated = (others.str.contains(_OFFSET_TIME) & parsed.is_not_null()).to_numpy()
        time_ms[rest] = np.where(dated, parsed.to_physical().fill_null(0).to_numpy(), 0)
        usual[rest] = dated
    return time_ms, usual


def _characters(texts: pl.Series, length: int) -> Bytes:
    """The bytes of texts (n) of `length` bytes each, by their place (length, n)."""
    joined = np.frombuffer(texts.str.join()[0].encode(), dtype=np.uint8)
    return np.ascontiguousarray(joined.reshape(-1, length).T)


def _epoch(texts: pl.Series, length: int) -> tuple[Ints, Mask]:
    """Texts (n) of `length` digits: their times (n), and which are so (n)."""
    digits = _characters(texts, length) - np.uint8(ord("0"))
    good: Mask = np.logical_and.reduce(digits <= 9)
    number = np.zeros(len(texts), dtype=np.int64)
    for digit in digits:
        number *= 10
        number += digit
    return np.where(good, epoch_ms(number), 0), good


def epoch_ms(values: Ints) -> Ints:
    """Seconds, ms, us or ns, told apart by size, as `stream.convert` does."""
    size = np.abs(values)
    sizes = [size < 10**11, size < 10**14, size < 10**17]
    return np.select(sizes, [values * 1_000, values, values // 1_000], values // 1_000_000)


def _utc(texts: pl.Series, length: int) -> tuple[Ints, Mask]:
    """Texts (n) of `length` bytes each, such as `2015-09-12T00:00:00.250Z`: their times (n), and which are so (n)."""
    characters = _characters(texts, length)
    good: Mask = characters[length - 1] == ord("Z")
    fixed = {**_FIXED, _SECONDS_LENGTH - 1: "."} if length > _SECONDS_LENGTH else _FIXED
    for place, character in fixed.items():
        good &= characters[place] == ord(character)
    digits = characters - np.uint8(ord("0"))
    for place in range(length - 1):
        if place not in fixed:
            good &= digits[place] <= 9
    digit = digits.astype(np.int32)

    def two(place: int) -> Small:
        pair: Small = digit[place] * 10 + digit[place + 1]
        return pair

    year, month, day = two(0) * 100 + two(2), two(5), two(8)
    hour, minute, second = two(11), two(14), two(17)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    month = np.where(good & (month >= 1) & (month <= 12), month, 0)
    good &= (year >= 1) & (month > 0) & (hour < 24) & (minute < 60) & (second < 60)
    good &= (day >= 1) & (day <= _DAYS_IN_MONTH[month]) & ~((month == 2) & (day == 29) & ~leap)
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - 719_162
    days = days + _DAYS_TO_MONTH[month] + (leap & (month > 2)) + day - 1
    fraction = np.zeros(len(good), dtype=np.int64)
    for power, place in zip((100, 10, 1), range(_SECONDS_LENGTH, length - 1), strict=False):
        fraction += digit[place] * power
    time_ms = days.astype(np.int64) * 86_400_000 + ((hour * 60 + minute) * 60 + second) * 1_000 + fraction
    return np.where(good, time_ms, 0), good
