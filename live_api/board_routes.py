"""REST: which boards there are, and what stands on each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, HTTPException, Request

from live_api.access.guard import identity_of, requires
from live_api.access.permissions import Permission
from live_api.access.within import boards_within
from live_api.boards import Board
from stream.catalog import Platform


def router(boards: Mapping[str, Board], platform: Platform) -> APIRouter:
    """Routes over the boards by name, of which the first is the default one."""
    api = APIRouter(prefix="/v1")

    @api.get("/boards", dependencies=[requires(Permission.VIEW_NUMBERS)], summary="Which boards there are")
    async def all_boards(request: Request) -> dict[str, Any]:
        own = boards_within(boards, identity_of(request).rows)
        return {
            "boards": [{"name": board.name, "title": board.title, "derived": board.derived} for board in own.values()],
            "default": next(iter(own)),
        }

    @api.get("/boards/{name}", dependencies=[requires(Permission.VIEW_NUMBERS)], summary="One board with its tiles")
    async def one_board(name: str, request: Request) -> dict[str, Any]:
        own = boards_within(boards, identity_of(request).rows)
        board = own.get(name)
        if board is None:
            raise HTTPException(404, f"board: expected one of {', '.join(own)}; found {name!r}")
        return {
            "name": board.name,
            "title": board.title,
            "derived": board.derived,
            "platform": {"name": platform.name, "timezone": platform.timezone},
            "tiles": [tile.to_json() for tile in board.tiles],
            "left_out": board.left_out,
        }

    return api
