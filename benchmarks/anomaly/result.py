"""What the default detector is held to."""

from __future__ import annotations

TARGETS = {
    "standard": ("≥", 72.0),
    "low_fp": ("≥", 64.0),
    "low_fn": ("≥", 77.0),
    "loo": ("≥", 69.0),
    "standard_at_threshold": ("≥", 66.0),
    "false_episodes_per_10k": ("≤", 4.0),
    "us_per_row": ("≤", 25.0),
}
"""Of `novelty`, by the names of `Figures`."""
