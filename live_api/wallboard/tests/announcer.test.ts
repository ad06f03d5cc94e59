import { expect, it } from "vitest";
import { Announcer } from "../src/announcer";
import type { Freshness } from "../src/freshness";
import type { Level } from "../src/threshold";

const announcer = () => {
  const one = new Announcer();
  const say = (id: string, freshness: Freshness, level: Level = "none") => one.tile(id, `Tile ${id}`, { freshness, level });
  return { one, say };
};

it("says changes of state, and not how a tile opened", () => {
  const { one, say } = announcer();
  say("a", "live", "ok");
  expect(one.take()).toBeNull();
  say("a", "live", "critical");
  expect(one.take()).toBe("Tile a: critical.");
  expect(one.take()).toBeNull();
  say("a", "stale", "critical");
  expect(one.take()).toBe("Tile a: no data.");
  say("a", "live", "critical");
  expect(one.take()).toBe("Tile a: live again.");
});

it("leaves to the banner what is so for all tiles", () => {
  const { one, say } = announcer();
  say("a", "live", "ok");
  for (const freshness of ["lost", "waiting", "source_down", "live"] as const) say("a", freshness, freshness === "live" ? "ok" : "none");
  expect(one.take()).toBeNull();
  say("a", "lost", "none");
  say("a", "live", "critical");
  expect(one.take()).toBe("Tile a: critical.");
});

it("names a few, and counts the others", () => {
  const { one, say } = announcer();
  for (const id of "abcdef") say(id, "live");
  for (const id of "abcdef") say(id, "late");
  expect(one.take()).toBe("Tile a: late. Tile b: late. Tile c: late. And 3 more tiles have changed.");
});

it("begins anew with another board", () => {
  const { one, say } = announcer();
  say("a", "live");
  one.clear();
  say("a", "late");
  expect(one.take()).toBeNull();
});
