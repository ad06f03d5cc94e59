import { describe, expect, it } from "vitest";
import { actionOf } from "../src/keys";
import { addressOf, optionsOf } from "../src/options";

const ROOT = "http://wall.test/";

describe("the address", () => {
  it("decides everything", () => {
    expect(optionsOf(`${ROOT}board/ops?theme=dark&rotate=30&kiosk&boards=a,%20b,`, ROOT)).toEqual({
      theme: "dark",
      rotateS: 30,
      kiosk: true,
      boards: ["a", "b"],
      board: "ops",
    });
    expect(optionsOf(ROOT, ROOT)).toEqual({ theme: null, rotateS: null, kiosk: false, boards: [], board: null });
  });

  it("is taken with a grain of salt", () => {
    const of = (query: string) => optionsOf(`${ROOT}?${query}`, ROOT);
    expect(of("theme=pink").theme).toBeNull();
    expect(["", "0", "-3", "x", "1e999"].map((rotate) => of(`rotate=${rotate}`).rotateS)).toEqual([null, null, null, null, null]);
    expect(of("rotate=0.1").rotateS).toBe(3);
    expect(of("rotate=1e9").rotateS).toBe(86_400);
    expect([of("kiosk=0").kiosk, of("kiosk=false").kiosk, of("kiosk=1").kiosk]).toEqual([false, false, true]);
    expect(optionsOf(`${ROOT}board/%E0%A4%A`, ROOT).board).toBe("%E0%A4%A");
  });

  it("may be anywhere behind a proxy", () => {
    const base = "http://wall.test/tools/gauge/";
    expect(optionsOf(`${base}board/ops/`, base).board).toBe("ops");
    expect(optionsOf(base, base).board).toBeNull();
    expect(addressOf("sales", `${base}board/ops?kiosk&rotate=9`, base)).toBe(`${base}board/sales?kiosk&rotate=9`);
    expect(addressOf("a/b", ROOT, ROOT)).toBe(`${ROOT}board/a%2Fb`);
  });
});

describe("the keyboard", () => {
  const key = (name: string, over = {}) => actionOf({ key: name, ctrlKey: false, altKey: false, metaKey: false, ...over }, false);

  it("walks through the boards and leaves what it is at", () => {
    expect(key("ArrowRight")).toEqual({ do: "step", by: 1 });
    expect(key("PageUp")).toEqual({ do: "step", by: -1 });
    expect(key("3")).toEqual({ do: "show", index: 2 });
    expect(key("Escape")).toEqual({ do: "leave" });
  });

  it("leaves to the browser and to fields what is theirs", () => {
    expect(["0", "a", "Tab", "ArrowUp", "Enter"].map((name) => key(name))).toEqual([null, null, null, null, null]);
    expect(key("ArrowLeft", { altKey: true })).toBeNull();
    expect(actionOf({ key: "3", ctrlKey: false, altKey: false, metaKey: false }, true)).toBeNull();
  });
});
