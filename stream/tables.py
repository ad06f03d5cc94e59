"""What all tables of a catalog have in common, and the names in them."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from stream.durations import duration_ms
from stream.windows import window_of

T = TypeVar("T")
_UTC = ZoneInfo("UTC")


class Table(BaseModel):
    """A table of the catalog: only keys it knows, values of just their types, and no change once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    no_meaning: ClassVar[frozenset[str]] = frozenset()
    """Keys that change nothing of what is kept of people."""


def each_once(values: list[T]) -> list[T]:
    """The values, which must differ. Raises ValueError."""
    if len(set(values)) != len(values):
        raise ValueError(f"expected each once, found {values!r}")
    return values


def _field(name: str) -> str:
    if any(ord(letter) < 32 or letter in '"\\' for letter in name) or "" in name.split("."):
        raise ValueError(f"expected a field's name, with a dot only between two names, found {name!r}")
    return name


def _duration(text: str) -> str:
    duration_ms(text)
    return text


def _window(text: str) -> str:
    window_of(text, _UTC)
    return text


Duration = Annotated[str, AfterValidator(_duration)]
FieldName = Annotated[str, AfterValidator(_field), Field(min_length=1, max_length=256)]
WindowText = Annotated[str, AfterValidator(_window)]
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
