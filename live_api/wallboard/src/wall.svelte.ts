/** Everything the components draw from: the line, the store, the catalog, and one clock tick for all of them. */

import { ServerClock } from "./clock";
import { browserSurroundings, Connection, type Line } from "./connection";
import { windowStart } from "./durations";
import { Zone } from "./format";
import { boardOf, capacitiesOf, CHART_WINDOWS, isBuiltIn, SPARK_WINDOWS, type Board, type Panel } from "./panels";
import type { Catalog, SentSeries, ServerMessage, System } from "./protocol";
import { fetchCatalog, fetchHistory } from "./rest";
import { SeriesStore } from "./store";
import type { LineState, Moment } from "./tile";

/** Ages are shown in seconds; a quarter of one keeps them from skipping. */
const TICK_MS = 250;
/** Time for the first snapshot to arrive, so that history is asked for where the data is. */
const HISTORY_DELAY_MS = 150;
const HISTORY_RETRY_MS = 10_000;
const CATALOG_RETRY_MS = 5_000;
const CATALOG_AGAIN_MS = 15_000;
const SWEEP_MS = 60_000;
const RELOAD_SPREAD_MS = 3_000;
/** A server that says "reload" again and again must not make the wall flicker. */
const RELOAD_AT_MOST_EVERY_MS = 60_000;

export class Wall {
  line = $state.raw<Line>({ state: "connecting" });
  catalog = $state.raw<Catalog | null>(null);
  catalogProblem = $state.raw<string | null>(null);
  board = $state.raw<Board>({ tiles: [], charts: [] });
  system = $state.raw<System | null>(null);
  serverProblem = $state.raw<string | null>(null);
  /** Server time, epoch ms. Set with every frame drawn and every tick. */
  now = $state(Date.now());
  /** Counts the frames in which the store had changed. */
  frame = $state(0);

  readonly store = new SeriesStore();
  readonly startedAt = Date.now();
  readonly #clock = new ServerClock();
  readonly #connection: Connection;
  #epoch: string | null = null;
  #epochChanged = false;
  #frameAsked = false;
  #catalogAskedAt = -Infinity;
  #catalogUnderWay = false;
  #historyUnderWay = false;
  #historyTimer: ReturnType<typeof setTimeout> | undefined;

  readonly zone = $derived(new Zone(this.catalog?.timezone ?? "UTC"));
  readonly sourceDown = $derived(this.system !== null && this.system.state !== "live");
  readonly lineState: LineState = $derived.by(() => {
    if (this.line.state === "connecting") return "connecting";
    if (this.line.state !== "live") return "lost";
    return this.sourceDown ? "source_down" : "live";
  });
  readonly rejects = $derived(this.system?.rejects ?? this.catalog?.rejects ?? null);
  readonly rejectedTotal = $derived(
    this.system?.rejectedTotal ?? this.catalog?.rejectedTotal ?? (this.rejects && sum(Object.values(this.rejects))),
  );

  constructor() {
    const url = new URL("/v1/ws", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#connection = new Connection(browserSurroundings(url.href), {
      line: (line) => this.#onLine(line),
      message: (message) => this.#onMessage(message),
    });
  }

  start(): void {
    void this.#loadCatalog();
    this.#connection.start();
    setInterval(() => this.#tick(), TICK_MS);
    setInterval(() => this.store.forgetOld(this.#serverNow()), SWEEP_MS);
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#connection.check();
    });
    addEventListener("online", () => this.#connection.check());
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.#connection.check();
    });
  }

  /** What the panels need besides the store. Reading it subscribes to the clock. */
  moment(): Moment {
    return {
      now: this.now,
      watermark: this.system?.watermarkMs ?? null,
      lastEvent: this.#lastEvent(),
      line: this.lineState,
      zone: this.zone,
    };
  }

  #onLine(line: Line): void {
    this.line = line;
    this.now = this.#serverNow();
  }

  #onMessage(message: ServerMessage): void {
    if ("t" in message) this.#clock.heard(message.t, Date.now());
    switch (message.op) {
      case "welcome":
        this.#epochChanged = this.#epoch !== null && this.#epoch !== message.epoch;
        this.#epoch = message.epoch;
        this.serverProblem = null;
        break;
      case "snapshot":
        this.store.snapshot(message.series, message.t);
        this.system = message.system;
        this.#askForFrame();
        if (this.store.era > 1) void this.#loadCatalog();
        this.#askForHistory();
        break;
      case "update":
        this.store.update(message.series, message.t);
        if (message.system !== null) this.system = message.system;
        if (this.#speaksOfUnknown(message.series)) void this.#loadCatalog();
        this.#askForFrame();
        break;
      case "error":
        this.serverProblem = message.message || message.code;
        break;
      case "reload":
        reloadSoon();
        break;
      case "heartbeat":
      case "bye":
        break;
    }
  }

  #askForFrame(): void {
    if (this.#frameAsked) return;
    this.#frameAsked = true;
    requestAnimationFrame(() => {
      this.#frameAsked = false;
      this.now = this.#serverNow();
      this.frame += 1;
    });
  }

  #tick(): void {
    if (document.visibilityState === "visible") this.now = this.#serverNow();
  }

  #serverNow(): number {
    return this.#clock.at(Date.now());
  }

  #speaksOfUnknown(series: ReadonlyMap<string, SentSeries>): boolean {
    if (this.catalog === null || Date.now() - this.#catalogAskedAt < CATALOG_AGAIN_MS) return false;
    const known = new Set(this.catalog.metrics.map((metric) => metric.name));
    for (const { metric } of series.values()) if (!known.has(metric) && !isBuiltIn(metric)) return true;
    return false;
  }

  async #loadCatalog(): Promise<void> {
    if (this.#catalogUnderWay) return;
    this.#catalogUnderWay = true;
    this.#catalogAskedAt = Date.now();
    try {
      const catalog = await fetchCatalog();
      this.catalogProblem = null;
      const changed = JSON.stringify(catalog.metrics) !== JSON.stringify(this.catalog?.metrics);
      this.catalog = catalog;
      if (changed) {
        this.board = boardOf(catalog.metrics);
        this.store.setCapacities(capacitiesOf(this.board));
        this.#askForHistory();
      }
      this.#askForFrame();
    } catch (error) {
      this.catalogProblem = error instanceof Error ? error.message : String(error);
      // Without a catalog there is no board. With one, the next snapshot asks again.
      if (this.catalog === null) setTimeout(() => void this.#loadCatalog(), CATALOG_RETRY_MS);
    } finally {
      this.#catalogUnderWay = false;
    }
  }

  #askForHistory(delayMs = HISTORY_DELAY_MS): void {
    clearTimeout(this.#historyTimer);
    this.#historyTimer = setTimeout(() => void this.#loadHistory(), delayMs);
  }

  async #loadHistory(): Promise<void> {
    if (this.#historyUnderWay) {
      this.#askForHistory();
      return;
    }
    this.#historyUnderWay = true;
    const era = this.store.era;
    const wanted = this.board.tiles
      .flatMap((panel) => windowsOf(panel, SPARK_WINDOWS))
      .concat(this.board.charts.flatMap((panel) => windowsOf(panel, CHART_WINDOWS)));
    let failed = false;
    const next = async (): Promise<void> => {
      for (let one = wanted.shift(); one !== undefined; one = wanted.shift()) {
        const [metric, window, width, count] = one;
        const last = windowStart(this.#latestStart(metric, window), width);
        const from = last - (count - 1) * width;
        const to = last + 2 * width;
        try {
          const history = await fetchHistory(metric, window, from, to);
          // A snapshot that came meanwhile has asked again; an answer from before it would vouch for the wrong era.
          if (this.store.era !== era) return;
          this.store.history(metric, window, history, from, to, this.#serverNow());
          this.#askForFrame();
        } catch {
          failed = true;
        }
      }
    };
    try {
      await Promise.all([next(), next(), next()]);
      if (failed && this.store.era === era) {
        if (this.#epochChanged) this.store.forgetUnconfirmed();
        this.#askForHistory(HISTORY_RETRY_MS);
      }
    } finally {
      this.#historyUnderWay = false;
    }
  }

  #lastEvent(): number | null {
    const seen = Object.values(this.system?.streams ?? {}).flatMap(({ maxEventMs }) => maxEventMs ?? []);
    return seen.length > 0 ? Math.max(...seen) : null;
  }

  #latestStart(metric: string, window: string): number {
    let latest = -Infinity;
    for (const series of this.store.group(metric, window)?.series.values() ?? []) {
      latest = Math.max(latest, series.latest?.start ?? -Infinity);
    }
    return latest === -Infinity ? (this.system?.watermarkMs ?? this.#serverNow()) : latest;
  }
}

function windowsOf(panel: Panel, count: number): [metric: string, window: string, width: number, count: number][] {
  const fine: [string, string, number, number] = [panel.metric.name, panel.fine, panel.fineMs, count];
  return panel.main === panel.fine ? [fine] : [fine, [panel.metric.name, panel.main, panel.mainMs, 2]];
}

function reloadSoon(): void {
  const remembered = "streamgauge.reloaded";
  const last = Number(sessionStorage.getItem(remembered) ?? 0);
  if (Date.now() - last < RELOAD_AT_MOST_EVERY_MS) return;
  sessionStorage.setItem(remembered, String(Date.now()));
  setTimeout(() => location.reload(), Math.random() * RELOAD_SPREAD_MS);
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
