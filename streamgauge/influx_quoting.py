"""Texts and names inside of Flux and InfluxQL."""

from __future__ import annotations


def flux_text(text: str) -> str:
    """A string literal of Flux, in which `${` would begin an expression."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{escaped}"'


def influxql_name(name: str) -> str:
    """A measurement, field or tag of InfluxQL."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def influxql_text(text: str) -> str:
    """A string literal of InfluxQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
