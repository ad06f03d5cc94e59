/** What the keyboard does, apart from Tab. */

export type KeyAction = { do: "step"; by: 1 | -1 } | { do: "show"; index: number } | { do: "leave" };

/** Null for a key that is not ours: with a modifier it belongs to the browser, in a field to the field. */
export function actionOf(event: Pick<KeyboardEvent, "key" | "ctrlKey" | "altKey" | "metaKey">, inField: boolean): KeyAction | null {
  if (event.ctrlKey || event.altKey || event.metaKey || inField) return null;
  switch (event.key) {
    case "ArrowRight":
    case "PageDown":
      return { do: "step", by: 1 };
    case "ArrowLeft":
    case "PageUp":
      return { do: "step", by: -1 };
    case "Escape":
      return { do: "leave" };
    default:
      return /^[1-9]$/.test(event.key) ? { do: "show", index: Number(event.key) - 1 } : null;
  }
}
