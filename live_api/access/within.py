"""What there is for somebody who sees some rows only: metrics, dimensions and boards without those of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from live_api.access.identity import Rows
from live_api.boards import Board, Tile
from live_api.described import Described


def metrics_within(known: Mapping[str, Described], rows: Rows) -> Mapping[str, Described]:
    """The metrics that can have series in `rows`; the others are as if the catalog had not named them."""
    if not rows.limited:
        return known
    return {name: metric for name, metric in known.items() if rows.may_show(metric["by"])}


def dimensions_within(asked: Mapping[str, Sequence[str]], rows: Rows) -> dict[str, Sequence[str]]:
    """The values of each dimension that are asked for and in `rows`: who asks for others' finds no series."""
    found = dict(asked)
    for name, mine in rows.allowed:
        wanted = found.get(name)
        found[name] = sorted(mine) if wanted is None else [value for value in wanted if value in mine]
    return found


def boards_within(boards: Mapping[str, Board], rows: Rows) -> Mapping[str, Board]:
    """The boards with the tiles that can show anything of `rows`, and without those that would tell of others.

    A board of which nothing is left is left out; there is one all the same, if an empty one.
    """
    if not rows.limited:
        return boards
    cut = {name: _cut(one, rows) for name, one in boards.items()}
    left = {name: board for name, board in cut.items() if any(tile.metric is not None for tile in board.tiles)}
    return left or dict([next(iter(cut.items()))])


def _cut(board: Board, rows: Rows) -> Board:
    tiles = tuple(tile for tile in board.tiles if _shows(tile, rows))
    return replace(board, tiles=tiles, left_out=len(board.tiles) - len(tiles))


def _shows(tile: Tile, rows: Rows) -> bool:
    if tile.metric is None:
        # What is asked for at `/v1/people` and `/v1/models` is of all persons.
        return tile.analysis is None
    pinned = tile.dimensions
    return rows.may_show(tile.metric["by"]) and all(
        name not in pinned or pinned[name] in mine for name, mine in rows.allowed
    )
