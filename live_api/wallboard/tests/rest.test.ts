import { afterEach, describe, expect, it, vi } from "vitest";
import { fetchBoard, fetchCompare, fetchHistory, Refused } from "../src/rest";

const MINUTE = 60_000;

/** A server with one point a minute, that cuts its answers at `length`. */
function serve(minutes: number, length: number): string[] {
  const asked: string[] = [];
  vi.stubGlobal("fetch", async (path: string) => {
    asked.push(path);
    const query = new URL(path, "http://wall.test/").searchParams;
    const from = Date.parse(query.get("from")!);
    const to = Date.parse(query.get("to")!);
    const found = Array.from({ length: minutes }, (_, index) => index * MINUTE).filter((start) => start >= from && start < to);
    const points = found.slice(0, length).map((start) => ({
      start: new Date(start).toISOString(),
      dimensions: {},
      value: start / MINUTE,
      count: 1,
      state: "final",
      revision: 1,
    }));
    return Response.json({ points, truncated: found.length > length });
  });
  return asked;
}

afterEach(() => vi.unstubAllGlobals());

describe("history", () => {
  it("is asked for until it is whole", async () => {
    const asked = serve(10, 4);
    const { points, truncated } = await fetchHistory("edits", "1m", 0, 10 * MINUTE);
    expect(new Set(points.map(({ point }) => point.value))).toEqual(new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    expect(truncated).toBe(false);
    expect(asked).toHaveLength(3);
  });

  it("says so when it is not whole, and does not ask for ever", async () => {
    const asked = serve(1000, 2);
    expect((await fetchHistory("edits", "1m", 0, 1000 * MINUTE)).truncated).toBe(true);
    expect(asked.length).toBeLessThan(10);
    serve(10, 1);
    expect((await fetchHistory("edits", "1m", 0, 10 * MINUTE)).truncated).toBe(true);
  });
});

it("an answer that is none names what was asked, and the status it came with", async () => {
  vi.stubGlobal("fetch", async () => new Response("", { status: 404 }));
  const refused = await fetchBoard("a b").catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(Refused);
  expect(refused).toMatchObject({ status: 404, message: "v1/boards/a%20b: expected status 200, found 404" });
});

it("yesterday may not be known", async () => {
  vi.stubGlobal("fetch", async () => Response.json({ value: null }));
  expect(await fetchCompare(new URLSearchParams({ metric: "a" }))).toBeNull();
});
