"""What a page looks like to somebody who sees it: computed style, and not what the sources say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from playwright.sync_api import Locator, Page

MAIN_PX = 48
"""How large the number of a tile is at least on a screen of Full HD, so that it is read from five metres."""

_LOOK = """
(tile) => {
  const style = getComputedStyle(tile);
  const words = tile.querySelector("[data-testid=freshness]");
  return {
    state: tile.dataset.state,
    pattern: style.backgroundImage,
    edge: `${style.borderTopStyle} ${style.borderTopWidth} ${style.borderTopColor}`,
    opacity: Number(getComputedStyle(tile.querySelector(".body")).opacity),
    words: words?.innerText.trim() ?? "",
    plate: words === null ? "" : getComputedStyle(words).backgroundColor,
    mark: words?.querySelector("path")?.getAttribute("d") ?? "",
  };
}
"""


@dataclass(frozen=True, slots=True)
class Look:
    """How a tile shows how current it is."""

    state: str
    pattern: str
    edge: str
    opacity: float
    """Of the number."""
    words: str
    plate: str
    """The colour under the words."""
    mark: str


def look_of(tile: Locator) -> Look:
    return Look(**tile.evaluate(_LOOK))


# Colours as they are on the screen: every layer of every box from the page's ground up, and the opacity of each group.
_CONTRASTS = """
() => {
  const parse = (text) => {
    const parts = text.match(/[\\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    const scale = text.startsWith("color(srgb") ? 255 : 1;
    return [parts[0] * scale, parts[1] * scale, parts[2] * scale, parts[3] ?? 1];
  };
  const over = (top, ground) => [0, 1, 2].map((at) => top[at] * top[3] + ground[at] * (1 - top[3]));
  const mix = (ground, top, share) => ground.map((one, at) => one * (1 - share) + top[at] * share);
  const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => {
    const [r, g, b] = colour.map((one) => linear(one / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  // Stripes and dots lie over the plain colour in some places: text must be read in both.
  const layers = (element, striped) => {
    const style = getComputedStyle(element);
    const plain = parse(style.backgroundColor);
    const stripes = style.backgroundImage.match(/rgba?\\([^)]*\\)/g)?.map(parse).filter((one) => one[3] > 0) ?? [];
    return striped && stripes.length > 0 ? [plain, stripes.sort((a, b) => b[3] - a[3])[0]] : [plain];
  };
  const pixel = (chain, at, ground, text, striped) => {
    let inside = ground;
    for (const layer of layers(chain[at], striped)) inside = over(layer, inside);
    if (at + 1 < chain.length) inside = pixel(chain, at + 1, inside, text, striped);
    else if (text !== null) inside = over(text, inside);
    return mix(ground, inside, Number(getComputedStyle(chain[at]).opacity));
  };
  const found = [];
  const walker = document.createTreeWalker(document.querySelector("#wall"), NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const element = node.parentElement;
    if (node.data.trim() === "" || element.closest(".visually-hidden")) continue;
    if (!element.checkVisibility({ opacityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    if (range.getClientRects().length === 0) continue;
    const chain = [];
    for (let one = element; one !== null; one = one.parentElement) chain.unshift(one);
    const style = getComputedStyle(element);
    const tile = element.closest("[data-testid=tile]");
    const colour = parse(style.color);
    const white = [255, 255, 255];
    const seen = (text, striped) => pixel(chain, 0, white, text, striped);
    const least = Math.min(...[false, true].map((striped) => ratio(seen(colour, striped), seen(null, striped))));
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    found.push({
      text: node.data.trim().slice(0, 40),
      ratio: least,
      least: large ? 3 : 4.5,
      size,
      main: element.closest("[data-testid=value], h2 .title, [data-testid=freshness], td.value, .value") !== null,
      where: `${tile?.dataset.type ?? "page"} .${element.className}`,
      state: tile?.dataset.state ?? "",
    });
  }
  return found;
}
"""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text that is seen, and how far it stands out from what is under it."""

    text: str
    ratio: float
    """Contrast as WCAG 2 has it, at the worst place of a pattern."""
    least: float
    """What it asks for: 3 for large text, 4.5 for other."""
    size: float
    main: bool
    """Value or title of a tile, or what is wrong with it."""
    where: str
    state: str

    def __str__(self) -> str:
        return f"{self.text!r} in {self.where} ({self.state}, {self.size:.0f} px): {self.ratio:.2f} < {self.least}"


def texts_of(page: Page) -> list[Text]:
    """All text that is seen."""
    return [Text(**one) for one in page.evaluate(_CONTRASTS)]


@dataclass(frozen=True, slots=True)
class Bar:
    index: int
    """Which window, from 0 at the left edge."""
    height: float
    is_open: bool


_BAR = re.compile(r"M([\d.]+) ([\d.]+)V([\d.]+)")


def bars_of(sparkline: Locator) -> list[Bar]:
    """The bars of a sparkline from left to right, open ones included, each as it was drawn."""
    drawn: dict[str, Any] = sparkline.evaluate(
        """(tile) => {
          const path = (name) => tile.querySelector(`svg .${name}`)?.getAttribute("d") ?? "";
          return { closed: path("closed-bars"), open: path("open-bars") };
        }"""
    )
    found = [
        (float(left), float(base) - float(top), name == "open")
        for name, path in drawn.items()
        for left, base, top in _BAR.findall(path)
    ]
    found.sort()
    closed = [left for left, _, is_open in found if not is_open]
    if len(closed) < 2:
        return []
    # A step of a few pixels, told to a tenth of one: the mean over all of them is exact enough to count by.
    steps = [after - before for before, after in pairwise(closed)]
    rough = min(steps)
    step = (closed[-1] - closed[0]) / sum(round(one / rough) for one in steps)
    return [Bar(round((left - found[0][0]) / step), height, is_open) for left, height, is_open in found]


_CROWDING = """
() => {
  const found = [];
  const tiles = [...document.querySelectorAll("[data-testid=tile]")];
  const name = (tile) => `${tile.dataset.type} “${tile.querySelector("h2").innerText}”`;
  const within = (from, to, least, most) => from >= least - 1 && to <= most + 1;
  const inside = (box, room) =>
    within(box.left, box.right, room.left, room.right) && within(box.top, box.bottom, room.top, room.bottom);
  const apart = (box, other) =>
    box.right <= other.left || other.right <= box.left || box.bottom <= other.top || other.bottom <= box.top;
  // The box of a line of text is higher than its digits, which are what must not be cut.
  const inked = (value) => {
    const { left, right, top, bottom } = value.getBoundingClientRect();
    const spare = Math.max(0, bottom - top - 0.75 * parseFloat(getComputedStyle(value).fontSize)) / 2;
    return { left, right, top: top + spare, bottom: bottom - spare };
  };
  const screen = { left: 0, top: 0, right: innerWidth, bottom: innerHeight };
  const shown = ["value", "bar", "row", "part", "legend-row"].map((one) => `[data-testid=${one}]`).join(", ");
  tiles.forEach((one, at) => {
    const box = one.getBoundingClientRect();
    if (!inside(box, screen)) found.push(`${name(one)} leaves the screen`);
    for (const other of tiles.slice(at + 1)) {
      if (!apart(box, other.getBoundingClientRect())) found.push(`${name(one)} lies over ${name(other)}`);
    }
    const body = one.querySelector(".body").getBoundingClientRect();
    for (const value of one.querySelectorAll(shown)) {
      if (!inside(inked(value), body)) found.push(`${name(one)}: ${value.dataset.testid} “${value.innerText}” is cut`);
    }
    for (const value of one.querySelectorAll("[data-testid=side]")) {
      const room = value.closest("dl").getBoundingClientRect();
      // Below it, it is not seen at all.
      const seen = value.getBoundingClientRect().top < room.bottom - 1;
      if (seen && !inside(inked(value), room)) found.push(`${name(one)}: “${value.innerText}” at its side is cut`);
    }
  });
  return found;
}
"""


def crowding_of(page: Page) -> list[str]:
    """Tiles that lie over each other or leave the screen, and numbers and rows that leave their tile."""
    found: list[str] = page.evaluate(_CROWDING)
    return found


def small_numbers_of(page: Page, least_px: float) -> list[str]:
    """Numbers of tiles that are written smaller than that."""
    sizes: list[list[Any]] = page.locator("[data-testid=value]").evaluate_all(
        "all => all.map((one) => [one.innerText, parseFloat(getComputedStyle(one).fontSize)])"
    )
    return [f"{text}: {size:.0f} px" for text, size in sizes if size < least_px]
