/** Keeps the screen on while the page is seen, where the browser lets it. */

/** Returns what ends it. A lock goes with the page's visibility, so it is taken again whenever that comes back. */
export function keepAwake(): () => void {
  if (!("wakeLock" in navigator)) return () => {};
  let lock: WakeLockSentinel | null = null;
  let ended = false;
  const take = (): void => {
    if (document.visibilityState !== "visible" || (lock !== null && !lock.released)) return;
    // Refused on a low battery, or by policy: then the machine's own settings rule.
    navigator.wakeLock.request("screen").then(
      (taken) => {
        if (ended) void taken.release();
        else lock = taken;
      },
      () => {},
    );
  };
  document.addEventListener("visibilitychange", take);
  take();
  return () => {
    ended = true;
    document.removeEventListener("visibilitychange", take);
    void lock?.release();
  };
}
