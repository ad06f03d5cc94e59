"""Every detector by the name the catalog calls it, imported when one is asked for: river's own take seconds."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from models.base import Detector, ModelError

DETECTORS: Mapping[str, str] = {
    "novelty": "models.novelty:Novelty",
}
"""Name → `module:class`."""


def detector_class(name: str) -> type[Detector]:
    """Raises ModelError for a name that is none."""
    if name not in DETECTORS:
        raise ModelError(f"expected one of {', '.join(DETECTORS)}; found {name!r}")
    module, _, made = DETECTORS[name].partition(":")
    found: type[Detector] = getattr(import_module(module), made)
    return found


def make_detector(name: str, options: Mapping[str, Any]) -> Detector:
    """A detector that has seen nothing. Raises ModelError for a name or options that make no sense."""
    try:
        return detector_class(name)(**options)
    except TypeError as error:
        raise ModelError(f"{name}: {error}") from None
