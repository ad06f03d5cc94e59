"""What is logged, as the source has it: every call of a logger, and the table of events in the documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streamgauge.log_names import NAMES, OWN, SAID_THERE

_ROOT = Path(__file__).parents[1]
_LEVELS = ("debug", "info", "warning", "error", "critical", "exception", "log")
PLACEHOLDER = r"%[\d.]*[sdrf]"


@dataclass(frozen=True, slots=True)
class Call:
    where: str
    """File and line."""
    level: str
    sentence: str | None
    """None where it is not constant."""
    event: str | None
    """What the call itself names it."""


def calls() -> Iterator[Call]:
    """All calls of loggers in our packages."""
    for package in OWN:
        for path in sorted((_ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LEVELS:
                    whose = node.func.value
                    if isinstance(whose, ast.Name) and whose.id in ("logger", "logging"):
                        yield _call(f"{path.relative_to(_ROOT)}:{node.lineno}", node.func.attr, node)


def events_table() -> str:
    """A row for each event: its name, its level, and what it says."""
    levels = {}
    for call in calls():
        event = call.event or NAMES[call.sentence or ""].event
        levels[event] = {"exception": "error"}.get(call.level, call.level)
    rows = [f"| `{event}` | {levels[event]} | {meaning} |" for event, meaning in SAID_THERE.items()]
    for sentence, one in NAMES.items():
        shown = sentence.replace("%%", "\0")
        for field in one.fields:
            shown = re.sub(PLACEHOLDER, f"<{field}>", shown, count=1)
        shown = shown.replace("\0", "%").replace("`", "'")
        rows.append(f"| `{one.event}` | {levels[one.event]} | `{shown}` |")
    return "\n".join(["| event | level | sentence |", "|---|---|---|", *sorted(rows)]) + "\n"


def _call(where: str, level: str, call: ast.Call) -> Call:
    first = call.args[0] if call.args else None
    sentence = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
    return Call(where, level, sentence, _own_name(call))


def _own_name(call: ast.Call) -> str | None:
    for keyword in call.keywords:
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            pairs = zip(keyword.value.keys, keyword.value.values, strict=True)
            found = {ast.literal_eval(name): ast.literal_eval(value) for name, value in pairs if name is not None}
            return found.get("event")
    return None
