"""What a figure is held to, in every benchmark."""

from __future__ import annotations

Target = tuple[str, float]
"""`≥` or `≤`, and the number."""


def is_met(target: Target, value: float) -> bool:
    sign, bound = target
    return value >= bound if sign == "≥" else value <= bound
