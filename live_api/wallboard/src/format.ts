/** Numbers, ages and times as they stand on the wall. Everything is short, and of a steady width where it can be. */

const SUFFIXES = ["", "k", "M", "B", "T"] as const;
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** For the big number: every digit below a million, so that each event is seen; three significant digits above. */
export function bigNumber(value: number): string {
  return Math.abs(value) < 999_999.5 ? plain(value) : compact(value);
}

/** For legends: "9,950", "12.3k", "1.23M". */
export function shortNumber(value: number): string {
  return Math.abs(value) < 9_999.5 ? plain(value) : compact(value);
}

/** For axes, whose steps are round: "0.5", "10k". */
export function axisNumber(value: number): string {
  return shortNumber(value).replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}

/** All that is known, for tooltips. */
export function exactNumber(value: number): string {
  return value.toLocaleString("en", { maximumFractionDigits: 6 });
}

/** "42%", "4.2%", "0.4%": of a whole, as exact as two digits. */
export function shareText(share: number): string {
  const percent = 100 * share;
  return `${Math.abs(percent) < 9.95 && percent !== 0 ? percent.toFixed(1) : percent.toFixed(0)}%`;
}

function plain(value: number): string {
  if (Number.isInteger(value) || Math.abs(value) >= 999.5) return whole.format(value).replace("-0", "0");
  return threeDigits(value);
}

function compact(value: number): string {
  let scaled = value;
  let step = 0;
  // 999.5 would be written as 1,000 with three digits: it belongs to the next suffix.
  while (Math.abs(scaled) >= 999.5 && step < SUFFIXES.length - 1) {
    scaled /= 1000;
    step += 1;
  }
  return Math.abs(scaled) >= 999.5 ? value.toExponential(2) : threeDigits(scaled) + SUFFIXES[step];
}

/** Three significant digits, but no more than three decimals: 0.0004 on a wall is 0. */
function threeDigits(value: number): string {
  const size = Math.abs(value);
  const decimals = size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3;
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? "0" : text;
}

/** "0 s", "42 s", "3 min", "5 h", "12 d", "10 y": rounded down, so it never claims to be older than it is. */
export function ageText(ageMs: number): string {
  const seconds = Math.floor(Math.max(0, ageMs) / 1000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h`;
  const days = Math.floor(hours / 24);
  return days < 730 ? `${days} d` : `${Math.floor(days / 365.25)} y`;
}

/** A delay with a tenth of a second while that matters: "0.4 s", "12 s", "3 min". */
export function delayText(delayMs: number): string {
  return delayMs < 9_950 ? `${(Math.max(0, delayMs) / 1000).toFixed(1)} s` : ageText(delayMs);
}

/** Times of day and dates in the platform's zone. */
export class Zone {
  readonly name: string;
  readonly #time: Intl.DateTimeFormat;
  readonly #minute: Intl.DateTimeFormat;
  readonly #date: Intl.DateTimeFormat;
  readonly #year: Intl.DateTimeFormat;

  /** A zone this browser does not know becomes UTC, and `name` says so. */
  constructor(name: string) {
    this.name = isKnown(name) ? name : "UTC";
    const zone = { timeZone: this.name, hourCycle: "h23" } as const;
    this.#time = new Intl.DateTimeFormat("en-GB", { ...zone, hour: "2-digit", minute: "2-digit", second: "2-digit" });
    this.#minute = new Intl.DateTimeFormat("en-GB", { ...zone, hour: "2-digit", minute: "2-digit" });
    this.#date = new Intl.DateTimeFormat("en-GB", { ...zone, weekday: "short", day: "numeric", month: "short" });
    this.#year = new Intl.DateTimeFormat("en-GB", { ...zone, day: "numeric", month: "short", year: "numeric" });
  }

  get isUtc(): boolean {
    return this.name === "UTC" || this.name === "Etc/UTC";
  }

  /** "14:03:22" */
  time(ms: number): string {
    return this.#time.format(ms);
  }

  /** "14:03" */
  minute(ms: number): string {
    return this.#minute.format(ms);
  }

  /** "Wed, 4 Mar" */
  date(ms: number): string {
    return this.#date.format(ms);
  }

  /** "12 Sep 2015" */
  dateAndYear(ms: number): string {
    return this.#year.format(ms);
  }
}

function isKnown(zone: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}
