"""Every detector by the name the catalog calls it, imported when one is asked for: river's own take seconds."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from models.base import Detector, ModelError

DETECTORS: Mapping[str, str] = {
    "novelty": "models.novelty:Novelty",
    "gaussian": "models.gaussian:Gaussian",
    "half_space_trees": "models.half_space_trees:HalfSpaceTrees",
    "loda": "models.loda:Loda",
    "one_class_svm": "models.one_class_svm:OneClassSVM",
    "above": "models.thresholds:Above",
    "below": "models.thresholds:Below",
    "change": "models.thresholds:Change",
    "nodata": "models.thresholds:NoData",
    "crossing": "models.crossing:Crossing",
}
"""Name → `module:class`."""


def detector_class(name: str) -> type[Detector]:
    """Raises ModelError for a name that is none."""
    if name not in DETECTORS:
        raise ModelError(f"expected one of {', '.join(DETECTORS)}; found {name!r}")
    module, _, made = DETECTORS[name].partition(":")
    found: type[Detector] = getattr(import_module(module), made)
    return found


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises ModelError for an option that the detector does not have, or one of another kind. Cheap, unlike making
    it: but whether values make sense together only the detector itself can tell."""
    known = detector_class(name).options()
    for option, given in options.items():
        if option not in known:
            expected = f"one of {', '.join(known)}" if known else "none"
            raise ModelError(f"{name}: options: expected {expected}; found {option!r}")
        try:
            known[option].check(given)
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None


def make_detector(name: str, options: Mapping[str, Any]) -> Detector:
    """A detector that has seen nothing. Raises ModelError for a name or options that make no sense."""
    check_options(name, options)
    try:
        return detector_class(name)(**options)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None
