"""Points of the past: which windows, what beside them, and how they are written."""
