"""Which of the events of a batch belong together: small numbers in place of keys, all at once."""

from __future__ import annotations

import numpy as np

from stream.arrays import Ints, Mask

_SHORT = 1 << 15
"""So many groups fit into 16 bits, which numpy sorts by counting."""


def numbered(keys: Ints) -> tuple[Ints, Ints]:
    """The different keys in rising order (m), and the place of each key (n) among them (n).

    *Cost*: 10 ns a key where they lie close together, as nearly always; else 100 ns, for sorting.
    """
    if not len(keys):
        return keys, keys
    least = int(keys.min())
    span = int(keys.max()) - least + 1
    if span > 4 * len(keys) + 1_024:
        different, place = np.unique(keys, return_inverse=True)
        return different, place.astype(np.int64, copy=False)
    close = keys - least
    different = np.flatnonzero(np.bincount(close, minlength=span))
    place = np.zeros(span, dtype=np.int64)
    place[different] = np.arange(len(different))
    return different + least, place[close]


class Groups:
    """Events (n) of a batch by the group (n) that each is in."""

    def __init__(self, group: Ints, groups: int) -> None:
        self.group = group
        self.groups = groups
        short = group.astype(np.int16) if groups <= _SHORT else group
        self._order = np.argsort(short, kind="stable")

    def of(self, mask: Mask | None) -> list[tuple[int, Ints]]:
        """Each group that has any of the events that are picked (None: all), with those events in their order."""
        if mask is None:
            events, sizes = self._order, np.bincount(self.group, minlength=self.groups)
        else:
            events = self._order[mask[self._order]]
            sizes = np.bincount(self.group[mask], minlength=self.groups)
        some = np.flatnonzero(sizes)
        if not len(some):
            return []
        return list(zip(some.tolist(), np.split(events, np.cumsum(sizes[some])[:-1]), strict=True))
