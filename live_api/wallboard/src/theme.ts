/** Dark or light: the address decides, else the machine's preference, also when it changes. */

export type Theme = "dark" | "light";

/** Applies the theme to the page and calls `changed` with it now and whenever it changes. Returns what ends that. */
export function followTheme(asked: Theme | null, changed: (theme: Theme) => void): () => void {
  const preference = matchMedia("(prefers-color-scheme: light)");
  const apply = (): void => {
    const theme = asked ?? (preference.matches ? "light" : "dark");
    document.documentElement.dataset.theme = theme;
    changed(theme);
  };
  preference.addEventListener("change", apply);
  apply();
  return () => preference.removeEventListener("change", apply);
}
