"""What the benchmark has a browser do."""

from __future__ import annotations

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

# A change is noticed when it is made in the page, and counted at the next animation frame: by then it has been painted,
# or is about to be, whichever part of a frame it was made in.
WATCH = """
(selector) => {
  const tile = document.querySelector(selector);
  window.painted = [];
  let last = "";
  const look = () => {
    const text = tile.querySelector("[data-testid=value]")?.textContent ?? "";
    if (text === last) return;
    last = text;
    const value = Number(text.replaceAll(",", ""));
    if (!Number.isInteger(value)) return;
    requestAnimationFrame(() => window.painted.push([performance.timeOrigin + performance.now(), value]));
  };
  new MutationObserver(look).observe(tile, { subtree: true, childList: true, characterData: true });
  look();
}
"""
"""Begins to watch the number in a tile, which a selector names."""

PAINTED = "() => window.painted"
"""What was painted since: [epoch ms, number] of each change."""
