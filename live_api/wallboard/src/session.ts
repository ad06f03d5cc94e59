/** Who looks at the wall, as `/v1/session` tells it: what they may see and do, and how somebody else could log in. */

import { isRecord, string, texts } from "./json";

export interface Session {
  /** `key:…`, `user:…`, `local` or `anonymous`. */
  name: string;
  permissions: ReadonlySet<string>;
  /** Whether there is an issuer that people can log in with. */
  oidc: boolean;
  /** All of it as one text: two that are the same see the same. */
  digest: string;
}

/** Nobody had to say who they are. */
const UNNAMED = ["local", "anonymous"];

/** What a server from before there were logins means. */
export const EVERYBODY: Session = { name: "local", permissions: new Set(["*"]), oidc: false, digest: "" };

export function parseSession(sent: unknown): Session {
  if (!isRecord(sent)) throw new TypeError("/v1/session: expected an object");
  const name = string(sent.name) ?? "anonymous";
  const permissions = texts(sent.permissions);
  const login = isRecord(sent.login) ? sent.login : {};
  const digest = JSON.stringify([name, permissions.toSorted(), sent.rows ?? null]);
  return { name, permissions: new Set(permissions), oidc: login.oidc === true, digest };
}

export function may(session: Session, permission: string): boolean {
  return session.permissions.has(permission) || session.permissions.has("*");
}

/** Whether somebody has logged in, and so can log out, and needs a ticket for a line. */
export function isSomebody(session: Session): boolean {
  return !UNNAMED.includes(session.name);
}

/** For people: `key:9f3a` → "key 9f3a", `user:ada` → "ada". Null where nobody has logged in. */
export function calledOf(session: Session): string | null {
  if (!isSomebody(session)) return null;
  const [kind, ...rest] = session.name.split(":");
  if (rest.length === 0) return session.name;
  return kind === "user" ? rest.join(":") : `${kind} ${rest.join(":")}`;
}

/**
 * The key in an address such as `/board/hall?kiosk#key=sg_…`, for screens that nobody types on, and the address without
 * it: no history, no picture of the screen and no reload is to have it.
 */
export function keyIn(address: string): { key: string; rest: string } | null {
  const url = new URL(address);
  const said = new URLSearchParams(url.hash.replace(/^#/, ""));
  const key = said.get("key");
  if (key === null || key === "") return null;
  said.delete("key");
  url.hash = said.toString();
  return { key, rest: url.href.replace(/#$/, "") };
}

/** Where to log in with the issuer, and come back to this page from. Relative, as everything here is. */
export function loginAddress(address: string): string {
  const { pathname, search } = new URL(address);
  return `auth/login?${new URLSearchParams({ to: pathname + search })}`;
}
