import { beforeEach, describe, expect, it } from "vitest";
import { AT_MOST_EVERY_MS, NEW_PAGE_WITHIN_MS, Reload, type ReloadSurroundings } from "../src/reload";

class Page implements ReloadSurroundings {
  time = 10_000_000;
  chance = 0.5;
  last: number | null = null;
  isThere = true;
  reloads = 0;
  timers: { at: number; act: () => void }[] = [];

  now = () => this.time;
  random = () => this.chance;
  answers = () => Promise.resolve(this.isThere);
  reload = () => void (this.reloads += 1);

  later(delayMs: number, act: () => void) {
    const timer = { at: this.time + delayMs, act };
    this.timers.push(timer);
    return () => void (this.timers = this.timers.filter((one) => one !== timer));
  }

  async advance(ms: number): Promise<void> {
    this.time += ms;
    for (const timer of this.timers.filter(({ at }) => at <= this.time)) {
      this.timers = this.timers.filter((one) => one !== timer);
      timer.act();
    }
    await Promise.resolve();
    await Promise.resolve();
  }
}

let page: Page;
let reload: Reload;

beforeEach(() => {
  page = new Page();
  reload = new Reload(page);
});

describe("loading again", () => {
  it("happens at a random moment within the time the server gives", async () => {
    reload.ask(20_000);
    await page.advance(9_999);
    expect(page.reloads).toBe(0);
    await page.advance(1);
    expect(page.reloads).toBe(1);
    expect(page.last).toBe(page.time);
  });

  it("happens when the server gives out another page than the first one it had", async () => {
    reload.welcomed(null);
    reload.welcomed("one");
    reload.welcomed("one");
    reload.welcomed(null);
    expect(reload.isComing).toBe(false);
    reload.welcomed("two");
    expect(reload.isComing).toBe(true);
    await page.advance(NEW_PAGE_WITHIN_MS / 2);
    expect(page.reloads).toBe(1);
  });

  it("waits for a server that does not answer, or the browser's error page would stay", async () => {
    page.isThere = false;
    reload.ask(0);
    for (let second = 0; second < 60; second += 1) await page.advance(1_000);
    expect(page.reloads).toBe(0);
    expect(page.timers).toHaveLength(1);
    page.isThere = true;
    await page.advance(10_000);
    expect(page.reloads).toBe(1);
  });

  it("happens at most once a minute, and is put off rather than forgotten", async () => {
    page.last = page.time - 10_000;
    reload.ask(0);
    await page.advance(AT_MOST_EVERY_MS - 10_001);
    expect(page.reloads).toBe(0);
    await page.advance(1);
    expect(page.reloads).toBe(1);
  });

  it("is not put off by a clock that was set back", async () => {
    page.last = page.time + 86_400_000;
    reload.ask(0);
    await page.advance(0);
    expect(page.reloads).toBe(1);
  });

  it("is done once, however often it is asked for, and not after the end", async () => {
    reload.ask(1_000);
    reload.ask(1_000);
    expect(page.timers).toHaveLength(1);
    reload.stop();
    await page.advance(10_000);
    expect(page.reloads).toBe(0);
  });
});
