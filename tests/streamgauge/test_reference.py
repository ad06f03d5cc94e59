"""What the documents have of the code: nothing without words of its own, and nothing that the code has not."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from live_api.access.guard import PUBLIC, guarded, requires
from live_api.access.permissions import Permission
from stream.tables import Duration, FieldName, Table
from streamgauge.reference import written_anew
from streamgauge.reference_routes import routes_of
from streamgauge.reference_tables import Undocumented, keys_table


class Shelf(Table):
    height: int = Field(3, ge=1, le=9)
    """How high
    it is."""
    for_how_long: Duration | None = None
    """Until it is cleared. Default: for good."""
    books: list[FieldName] = Field([])
    """What is on it."""
    name: str
    """What it is called."""


class Bare(Table):
    height: int = 3


def test_each_key_is_a_row_with_its_type_default_and_words() -> None:
    assert keys_table(Shelf).splitlines()[2:] == [
        "| `height` | whole number, from 1 to 9 | `3` | How high it is. |",
        "| `for_how_long` | duration | for good | Until it is cleared. |",
        "| `books` | list of fields | `[]` | What is on it. |",
        "| `name` | text | required | What it is called. |",
    ]


def test_a_key_without_words_is_refused() -> None:
    with pytest.raises(Undocumented, match=r"Bare: expected a docstring behind height"):
        keys_table(Bare)


def test_only_the_blocks_of_a_page_change() -> None:
    page = "before\n<!-- generated: routes -->\nold\n<!-- end -->\nafter\n"
    assert written_anew(page, lambda: "new\n") == page.replace("old", "new")


def test_a_block_of_something_unknown_is_refused() -> None:
    with pytest.raises(Undocumented, match="expected one of settings, routes, events"):
        written_anew("<!-- generated: Nothing -->\n<!-- end -->", lambda: "")


def test_a_route_is_told_with_what_it_needs_takes_and_answers() -> None:
    api = FastAPI()

    @api.get("/open", dependencies=[PUBLIC], summary="For all")
    def opened() -> None:
        pass

    @api.get(
        "/of/{it:path}",
        dependencies=[requires(Permission.EXPORT, Permission.VIEW_OWN)],
        summary="Some",
        responses={404: {"description": "None"}},
    )
    def some(it: str, limit: int = 7) -> None:
        """Not many."""

    assert routes_of(api).splitlines() == [
        "### `GET /open`",
        "",
        "For all. Needs nothing: everybody may.",
        "",
        "Answers `200`.",
        "",
        "### `GET /of/{it}`",
        "",
        "Some. Not many. Needs `export` or `view_own`.",
        "",
        "| parameter | in | default | meaning |",
        "|---|---|---|---|",
        "| `it` | path, text | required |  |",
        "| `limit` | query, whole number | `7` |  |",
        "",
        "Answers `200`, `404` None.",
    ]


def test_a_route_that_is_in_no_openapi_document_is_told_too() -> None:
    async def stream(request: Request) -> Response:
        return Response()

    api = FastAPI()
    api.router.routes.append(Route("/live", guarded(stream, Permission.VIEW_NUMBERS), methods=["GET"]))
    assert routes_of(api) == "### `GET /live`\n\nNeeds `view_numbers`. Not in `/openapi.json`.\n"


def test_a_route_that_says_nothing_of_who_may_ask_it_is_refused() -> None:
    api = FastAPI()

    @api.get("/open", summary="For all")
    def opened() -> None:
        pass

    with pytest.raises(Undocumented, match="GET /open"):
        routes_of(api)
