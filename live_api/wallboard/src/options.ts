/** What the page's address decides: `/board/<name>?theme=dark|light&rotate=30&kiosk&boards=a,b`. */

export interface Options {
  theme: "dark" | "light" | null;
  /** Seconds a board stays before the next takes its place; null: it stays. */
  rotateS: number | null;
  /** A screen that nobody touches: no controls, no cursor, and it does not go dark. */
  kiosk: boolean;
  /** Which boards take turns, and in which order; empty: all. */
  boards: readonly string[];
  /** The board asked for; null: the default one. */
  board: string | null;
}

/** Nobody can read a board that is gone within seconds. */
const LEAST_ROTATE_S = 3;
const MOST_ROTATE_S = 86_400;

/** `base` is where the server says that its root is, so that it may be anywhere behind a proxy. */
export function optionsOf(address: string, base: string): Options {
  const { searchParams, pathname } = new URL(address);
  const theme = searchParams.get("theme");
  const rotate = Number(searchParams.get("rotate"));
  const kiosk = searchParams.get("kiosk");
  return {
    theme: theme === "dark" || theme === "light" ? theme : null,
    rotateS: Number.isFinite(rotate) && rotate > 0 ? Math.min(MOST_ROTATE_S, Math.max(LEAST_ROTATE_S, rotate)) : null,
    kiosk: kiosk !== null && !["0", "false", "no", "off"].includes(kiosk),
    boards: (searchParams.get("boards") ?? "").split(",").map((name) => name.trim()).filter((name) => name !== ""),
    board: boardIn(pathname, new URL(base).pathname),
  };
}

/** The address of a board: all else in it stays as it was. */
export function addressOf(board: string, address: string, base: string): string {
  const root = new URL(".", base);
  const { search } = new URL(address);
  return new URL(`board/${encodeURIComponent(board)}${search}`, root).href;
}

function boardIn(path: string, base: string): string | null {
  const root = base.slice(0, base.lastIndexOf("/") + 1);
  const rest = path.startsWith(root) ? path.slice(root.length) : path.slice(1);
  const found = /^board\/([^/]+)\/?$/.exec(rest);
  if (found === null) return null;
  try {
    return decodeURIComponent(found[1]!);
  } catch {
    return found[1]!;
  }
}
