import { describe, expect, it } from "vitest";
import { calledOf, isSomebody, keyIn, loginAddress, may, parseSession } from "../src/session";

const session = (name: string, ...permissions: string[]) =>
  parseSession({ name, permissions, rows: {}, login: { key: true, oidc: false }, until: null });

describe("a session", () => {
  it("is read without being believed", () => {
    expect(() => parseSession(null)).toThrow("expected an object");
    const unknown = parseSession({});
    expect([unknown.name, unknown.permissions.size, unknown.oidc]).toEqual(["anonymous", 0, false]);
    expect(may(session("key:1", "view_numbers"), "view_numbers")).toBe(true);
    expect(may(session("key:1", "view_numbers"), "acknowledge")).toBe(false);
  });

  it("is another one with other permissions or rows, in whatever order they are told", () => {
    const one = session("key:1", "a", "b").digest;
    expect(session("key:1", "b", "a").digest).toBe(one);
    expect(session("key:1", "a").digest).not.toBe(one);
    expect(parseSession({ name: "key:1", permissions: ["a", "b"], rows: { shop: ["x"] } }).digest).not.toBe(one);
  });

  it("is somebody's who has logged in, and has a name for people then", () => {
    expect(["local", "anonymous", "key:9f", "user:ada"].map((name) => isSomebody(session(name)))).toEqual([false, false, true, true]);
    expect(["local", "anonymous", "key:9f", "user:a:da"].map((name) => calledOf(session(name)))).toEqual([null, null, "key 9f", "a:da"]);
  });
});

describe("a key in the address", () => {
  it("is taken out of it, and nothing else is", () => {
    expect(keyIn("http://x/sg/board/hall?kiosk#key=sg_a%2Bb")).toEqual({ key: "sg_a+b", rest: "http://x/sg/board/hall?kiosk" });
    expect(keyIn("http://x/#a=1&key=sg_a")).toEqual({ key: "sg_a", rest: "http://x/#a=1" });
    expect(["http://x/", "http://x/#", "http://x/#key=", "http://x/?key=sg_a"].map(keyIn)).toEqual([null, null, null, null]);
  });
});

it("one comes back from a login to the board that one was to see", () => {
  expect(loginAddress("http://x/board/hall?kiosk#there")).toBe("auth/login?to=%2Fboard%2Fhall%3Fkiosk");
});
