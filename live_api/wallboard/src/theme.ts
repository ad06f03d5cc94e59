/** Dark or light: `?theme=` decides, else the machine's preference, also when it changes. */

export type Theme = "dark" | "light";

/** Applies the theme to the page and calls `changed` with it now and whenever it changes. */
export function followTheme(changed: (theme: Theme) => void): void {
  const asked = new URLSearchParams(location.search).get("theme");
  const preference = matchMedia("(prefers-color-scheme: light)");
  const apply = (): void => {
    const theme = asked === "dark" || asked === "light" ? asked : preference.matches ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    changed(theme);
  };
  preference.addEventListener("change", apply);
  apply();
}
