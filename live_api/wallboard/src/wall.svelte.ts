/** Everything the components draw from: the line, the store, the boards, and one clock tick for all of them. */

import { AlertStore } from "./alerts";
import { Announcer } from "./announcer";
import { Answers, browserStorage } from "./answers";
import { Backfill } from "./backfill";
import { Bands, type Band } from "./bands";
import { permissionOf, type Board, type BoardName, type Tile } from "./board";
import { ServerClock } from "./clock";
import type { Compared } from "./compare";
import { Comparisons } from "./comparisons";
import { browserSurroundings, Connection, UNAUTHORIZED, type Line } from "./connection";
import { Zone } from "./format";
import type { Freshness } from "./freshness";
import { lastEventOf, Lateness } from "./lateness";
import type { LineState, Moment } from "./moment";
import { addressOf, optionsOf, type Options } from "./options";
import { capacitiesOf } from "./panels";
import { Polled, type Told } from "./polled";
import type { ServerMessage, System } from "./protocol";
import { browserReload, Reload } from "./reload";
import { fetchBoard, fetchBoards, fetchCompare, fetchHistory, fetchPeople, fetchRules, fetchScores, fetchTicket, Refused, sayOf } from "./rest";
import { Rotation } from "./rotation";
import { calledOf, isSomebody, may, type Session } from "./session";
import { SeriesStore } from "./store";
import type { Theme } from "./theme";
import type { Level } from "./threshold";
import { currentOf } from "./tiles/number";
import { watchedOf } from "./watch";

/** Ages are shown in seconds; a quarter of one keeps them from skipping. */
const TICK_MS = 250;
const BOARDS_RETRY_MS = 5_000;
const SWEEP_MS = 60_000;
/** So many boards in turn are all kept up to date; of more, only the one that is shown. */
const MOST_TOPICS = 32;
/** Errors of a line that is somebody else's. */
const NOT_OURS = ["unauthorized", "other_identity"];

export class Wall {
  line = $state.raw<Line>({ state: "connecting" });
  boards = $state.raw<readonly BoardName[]>([]);
  /** The one that is shown; null while it is on its way. */
  board = $state.raw<Board | null>(null);
  boardProblem = $state.raw<string | null>(null);
  system = $state.raw<System | null>(null);
  serverProblem = $state.raw<string | null>(null);
  theme = $state<Theme>("dark");
  /** Server time, epoch ms. Set with every frame drawn and every tick. */
  now = $state(Date.now());
  /** Counts the frames in which the store or the alerts had changed. */
  frame = $state(0);
  /** The last change of state, for a screen reader. */
  announcement = $state("");
  /** Boards would change, but wait for an alert or a reader. */
  held = $state(false);
  /** Which boards take turns, and can be chosen by number. */
  turn = $state.raw<readonly string[]>([]);

  readonly options: Options = optionsOf(location.href, document.baseURI);
  readonly store = new SeriesStore();
  readonly alerts = new AlertStore();
  /** What is said about alerts from here. */
  readonly answers: Answers;
  /** A screen that nobody touches asks for nothing to be touched. */
  readonly touched: boolean;
  /** Who has logged in, for people; null where nobody has. */
  readonly called: string | null;
  readonly answersAlerts: boolean;
  readonly startedAt = Date.now();
  readonly #announcer = new Announcer();
  readonly #clock = new ServerClock();
  readonly #lateness = new Lateness();
  readonly #connection: Connection;
  readonly #reload: Reload;
  readonly #backfill: Backfill;
  readonly #comparisons: Comparisons;
  readonly #bands: Bands;
  readonly #polled: Polled;
  /** Set once it is known which boards there are. */
  #rotation: Rotation | null = null;
  #held = new Map<string, Board>();
  #subscribed: readonly string[] = [];
  #isReading: () => boolean = () => false;
  #epoch: string | null = null;
  #frameAsked = false;
  #boardsUnderWay = false;
  #boardsTimer: ReturnType<typeof setTimeout> | undefined;

  readonly #timezone = $derived(this.board?.platform.timezone ?? "UTC");
  readonly zone = $derived(new Zone(this.#timezone));
  readonly sourceDown = $derived(this.system !== null && this.system.state !== "live");
  readonly lineState: LineState = $derived.by(() => {
    if (this.line.state === "connecting") return "connecting";
    if (this.line.state !== "live") return "lost";
    return this.sourceDown ? "source_down" : "live";
  });
  readonly rejects = $derived(this.system?.rejects ?? null);
  readonly rejectedTotal = $derived(this.system?.rejectedTotal ?? (this.rejects && sum(Object.values(this.rejects))));

  /** How many series rules watch, and how many of those are still learned. */
  readonly watched = $derived(watchedOf(this.system?.watch ?? null));

  /** `doubt` is told when the server refuses whoever looks, and whether the line has ended for that. */
  constructor(
    private readonly session: Session,
    private readonly doubt: (ended: boolean) => void,
  ) {
    this.touched = !this.options.kiosk && this.options.rotateS === null;
    this.called = calledOf(session);
    this.answersAlerts = this.touched && may(session, "acknowledge");
    this.answers = new Answers({
      who: this.called,
      say: sayOf,
      now: () => Date.now(),
      changed: () => this.#askForFrame(),
      storage: browserStorage(),
    });
    this.#bands = new Bands({
      tiles: () => this.board?.tiles ?? [],
      rules: fetchRules,
      scores: fetchScores,
      now: () => this.#serverNow(),
      watermark: () => this.system?.watermarkMs ?? null,
      random: Math.random,
      changed: () => this.#askForFrame(),
    });
    this.#polled = new Polled({
      tiles: () => this.#tiles(),
      fetch: fetchPeople,
      now: () => this.#serverNow(),
      random: Math.random,
      changed: () => this.#askForFrame(),
    });
    const url = new URL("v1/ws", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#backfill = new Backfill(this.store, {
      tiles: () => this.#tiles(),
      fetch: fetchHistory,
      now: () => this.#serverNow(),
      latest: () => this.system?.watermarkMs ?? this.#serverNow(),
      filled: () => this.#askForFrame(),
    });
    this.#comparisons = new Comparisons({
      tiles: () => this.board?.tiles ?? [],
      fetch: fetchCompare,
      current: (tile, panel) => currentOf(tile, panel, this.store, this.moment())?.value ?? null,
      now: () => this.#serverNow(),
      random: Math.random,
      changed: () => this.#askForFrame(),
    });
    this.#reload = new Reload(browserReload(() => location.href));
    this.#connection = new Connection(browserSurroundings(url.href, isSomebody(session) ? fetchTicket : undefined), {
      line: (line) => this.#onLine(line),
      message: (message) => this.#onMessage(message),
    });
  }

  /** `isReading`: somebody looks at a tile with the keyboard, so the board is not to change under them. Returns what ends it all. */
  start(isReading: () => boolean): () => void {
    this.#isReading = isReading;
    // Which topics to ask for is known with the list of boards. Without an answer the line says what is wrong.
    void this.#loadBoards().finally(() => this.#connection.start());
    const ticking = setInterval(() => this.#tick(), TICK_MS);
    const sweeping = setInterval(() => {
      this.store.forgetOld(this.#serverNow());
      this.alerts.forgetOld(this.#serverNow());
    }, SWEEP_MS);
    const ended = new AbortController();
    const { signal } = ended;
    const check = (): void => this.#connection.check();
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && check(), { signal });
    addEventListener("online", check, { signal });
    addEventListener("pageshow", (event) => event.persisted && check(), { signal });
    addEventListener("popstate", () => this.show(optionsOf(location.href, document.baseURI).board ?? this.boards[0]?.name ?? ""), { signal });
    return () => {
      ended.abort();
      clearInterval(ticking);
      clearInterval(sweeping);
      this.#backfill.stop();
      clearTimeout(this.#boardsTimer);
      this.#comparisons.stop();
      this.#bands.stop();
      this.#polled.stop();
      this.#reload.stop();
      this.#connection.stop();
    };
  }

  /** What the tiles need besides the store. Reading it subscribes to the clock. */
  moment(): Moment {
    return {
      now: this.now,
      watermark: this.system?.watermarkMs ?? null,
      lastEvent: lastEventOf(this.system),
      line: this.lineState,
      source: this.system?.state ?? "live",
      lostForMs: "since" in this.line ? Math.max(0, Date.now() - this.line.since) : null,
      behindMs: this.#lateness.behindMs,
      zone: this.zone,
    };
  }

  /** What a tile was compared with, so far as it is known. */
  comparedOf(tile: Tile): Compared | undefined {
    return this.#comparisons.of(tile);
  }

  /** What was to be expected of what a tile draws, by series, so far as it is known. */
  bandsOf(tile: Tile): ReadonlyMap<string, Band> | undefined {
    return this.#bands.of(tile);
  }

  /** What was last heard of the people that a tile is about. */
  toldOf(tile: Tile): Told {
    return this.#polled.of(tile);
  }

  /** Every tile says how it is; a screen reader hears of changes. */
  tileState(tile: Tile, freshness: Freshness, level: Level): void {
    this.#announcer.tile(tile.id, tile.title, { freshness, level });
  }

  show(name: string): void {
    if (this.#rotation === null) return;
    this.#rotation.show(name, performance.now());
    this.#showCurrent();
  }

  step(by: 1 | -1): void {
    if (this.#rotation === null) return;
    this.#rotation.step(by, performance.now());
    this.#showCurrent();
  }

  #showCurrent(): void {
    const name = this.#rotation?.current;
    if (name === undefined || this.board?.name === name) return;
    // Replaced and not pushed: in weeks of turning boards, nobody wants to go back through all of them.
    history.replaceState(null, "", addressOf(name, location.href, document.baseURI));
    this.#announcer.clear();
    this.announcement = "";
    this.board = this.#held.get(name) ?? null;
    this.boardProblem = null;
    const isNew = this.#subscribe();
    if (this.board === null) void this.#loadBoards();
    else if (isNew) this.#needsHaveChanged();
    // Boards in turn are all kept up to date, so there is nothing else to ask for.
    else this.#comparisons.ask();
  }

  /** Boards whose numbers are kept up to date: all that take turns, so that each is current the moment it is shown. */
  #wanted(): string[] {
    if (this.#rotation === null) return [];
    const { boards, current, turns } = this.#rotation;
    return turns && boards.length <= MOST_TOPICS ? [...new Set([...boards, current])] : [current];
  }

  /** Returns whether there is something that was not asked for before. */
  #subscribe(): boolean {
    const wanted = this.#wanted();
    const isNew = wanted.some((name) => !this.#subscribed.includes(name));
    this.#subscribed = wanted;
    this.#connection.setTopics([...wanted.map((name) => `board:${name}`), "alerts", "system"]);
    return isNew;
  }

  #onLine(line: Line): void {
    this.line = line;
    this.now = this.#serverNow();
    if (line.state === "refused" && line.code === UNAUTHORIZED) this.doubt(true);
  }

  #onMessage(message: ServerMessage): void {
    if ("t" in message) this.#clock.heard(message.t, Date.now());
    switch (message.op) {
      case "welcome":
        this.#epochIs(message.epoch);
        this.#reload.welcomed(message.wall);
        this.serverProblem = null;
        this.#polled.again();
        break;
      case "snapshot":
        if (message.epoch !== null) this.#epochIs(message.epoch);
        this.store.snapshot(message.series, message.t);
        this.#takeSystem(message.system);
        this.alerts.snapshot(message.alerts, message.t);
        this.#askForFrame();
        // The server may have begun again, with other boards.
        if (this.store.era > 1) {
          this.#bands.forget();
          void this.#loadBoards();
        }
        this.#backfill.ask();
        break;
      case "update":
        this.store.update(message.series, message.t);
        this.#takeSystem(message.system);
        this.alerts.update(message.alerts, message.t);
        this.#askForFrame();
        break;
      case "error":
        if (NOT_OURS.includes(message.code)) {
          // The login or key is another's by now, or nobody's.
          this.doubt(message.code === "other_identity");
          break;
        }
        if (message.code === "bad_ticket") break;
        this.serverProblem = message.message || message.code;
        break;
      case "reload":
        this.#reload.ask(message.withinMs);
        break;
      case "heartbeat":
      case "ok":
      case "bye":
        break;
    }
  }

  #epochIs(epoch: string): void {
    if (this.#epoch !== null) this.#backfill.serverIsAnother = this.#epoch !== epoch;
    this.#epoch = epoch;
  }

  #takeSystem(system: System | null): void {
    if (system === null) return;
    this.#lateness.heard(system);
    this.system = system;
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
    if (document.visibilityState !== "visible") return;
    this.now = this.#serverNow();
    if (this.#rotation?.tick(performance.now(), this.alerts.firing > 0 || this.#isReading())) this.#showCurrent();
    this.held = this.#rotation?.held ?? false;
    this.answers.look((id) => this.alerts.get(id));
    void this.#bands.look();
    this.#polled.look();
    const said = this.#announcer.take();
    if (said !== null) this.announcement = said;
  }

  #serverNow(): number {
    return this.#clock.at(Date.now());
  }

  async #loadBoards(): Promise<void> {
    if (this.#boardsUnderWay) return;
    this.#boardsUnderWay = true;
    clearTimeout(this.#boardsTimer);
    try {
      const listed = await fetchBoards();
      this.boards = listed.boards;
      const names = listed.boards.map(({ name }) => name);
      const asked = this.options.boards.filter((name) => names.includes(name));
      const turn = asked.length > 0 ? asked : names;
      if (this.#rotation === null) {
        const periodMs = this.options.rotateS === null ? null : this.options.rotateS * 1_000;
        const first = this.options.board ?? (asked.length > 0 ? asked[0]! : listed.default);
        this.#rotation = new Rotation(turn, first, periodMs, performance.now());
      } else {
        this.#rotation.setBoards(turn);
      }
      this.turn = turn;
      this.#subscribe();
      await this.#loadWanted();
    } catch (error) {
      this.boardProblem = error instanceof NoBoard ? error.message : `The boards could not be read (${said(error)}). Trying again.`;
      this.#boardsTimer = setTimeout(() => void this.#loadBoards(), BOARDS_RETRY_MS);
    } finally {
      this.#boardsUnderWay = false;
    }
    if (this.#rotation !== null && this.board === null && this.boardProblem === null) void this.#loadBoards();
  }

  async #loadWanted(): Promise<void> {
    const current = this.#rotation!.current;
    const held = new Map<string, Board>();
    // The one that is shown first: nobody waits for those that come later.
    for (const name of [current, ...this.#wanted().filter((one) => one !== current)]) {
      const board = await this.#fetchBoard(name).catch((error: unknown) => {
        if (name !== current) return this.#held.get(name) ?? null;
        const names = this.boards.map((one) => one.name).join(", ");
        throw error instanceof Refused && error.status === 404
          ? new NoBoard(`There is no board “${name}”. There are: ${names}.`)
          : error;
      });
      if (board === null) continue;
      held.set(name, board);
      if (name === this.#rotation!.current) {
        this.boardProblem = null;
        if (JSON.stringify(board) !== JSON.stringify(this.board)) {
          this.board = board;
          this.#held.set(name, board);
          this.#needsHaveChanged();
        }
      }
    }
    const changed = JSON.stringify([...held.values()]) !== JSON.stringify([...this.#held.values()]);
    this.#held = held;
    if (changed) this.#needsHaveChanged();
  }

  async #fetchBoard(name: string): Promise<Board> {
    const found = await fetchBoard(name);
    const tiles = found.tiles.filter((tile) => this.#shows(tile));
    return { ...found, tiles, leftOut: found.leftOut + found.tiles.length - tiles.length };
  }

  /** Tiles that would only say that they may not ask. */
  #shows(tile: Tile): boolean {
    const needed = permissionOf(tile);
    return needed === null || may(this.session, needed);
  }

  /** Other tiles are shown, or will be: keep what they need, and ask for what was before. */
  #needsHaveChanged(): void {
    this.store.setCapacities(capacitiesOf(this.#tiles()));
    this.#backfill.ask();
    this.#comparisons.ask();
    this.#askForFrame();
  }

  #tiles(): Tile[] {
    const names = new Set(this.#wanted());
    const boards = new Set([...this.#held.values()].filter((board) => names.has(board.name)));
    if (this.board !== null) boards.add(this.board);
    return [...boards].flatMap((board) => board.tiles);
  }
}

class NoBoard extends Error {}

function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
