"""How logs are written: set up once, for whatever any package or library says with the standard library's `logging`.

structlog makes the lines; only the front door knows it. Each line has the time, the level, a short constant `event`,
the sentence as `message`, its parts as fields, and whose it is (`role`, `member`). Secrets are taken out of them.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from streamgauge.log_names import OWN, event_of
from streamgauge.redaction import REDACTED

if TYPE_CHECKING:
    from streamgauge.settings import Settings

_bound: dict[str, object] = {}
_FIRST = ("timestamp", "level", "event", "message", "role", "member")


class _Handler(logging.StreamHandler[Any]):
    """Ours, and to be told from those that others put there. Libraries' words below a warning are left out: they have
    no names, and some tell what they send."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name.partition(".")[0] in OWN or record.levelno >= logging.WARNING


def begin() -> None:
    """Log to standard error; for the process's command alone, before it has read any setting."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(formatter("auto", terminal=sys.stderr.isatty()))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def apply(settings: Settings) -> None:
    """Log as the settings say, and never what of them is secret."""
    hide_secrets(settings)
    root = logging.getLogger()
    root.setLevel(settings.log_level)
    for handler in root.handlers:
        if isinstance(handler, _Handler):
            handler.setFormatter(formatter(settings.log_format, terminal=handler.stream.isatty()))


def bind(role: str, member: int | None = None) -> None:
    """From now on every line says which part this process is, and which of several."""
    _bound.clear()
    _bound.update({"role": role} | ({} if member is None else {"member": member}))


def hide_secrets(settings: Settings) -> None:
    secret = [getattr(settings, name) for name in type(settings).model_fields]
    REDACTED.hide(*(one.get_secret_value() for one in secret if hasattr(one, "get_secret_value")))
    REDACTED.hide_passwords(one for one in secret if isinstance(one, str))


def formatter(form: str, *, terminal: bool) -> logging.Formatter:
    """`form`: `json`, `console`, or `auto`: the latter on a terminal, else the former."""
    as_text = form == "console" or (form == "auto" and terminal)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _name,
        ],
        processors=[
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _redact,
            _as_text if as_text else structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        pass_foreign_args=True,
    )


def _name(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    """The sentence becomes `message`, and its name and parts stand beside it."""
    record: logging.LogRecord = event_dict["_record"]
    named = event_of(record.name, record.msg, getattr(record, "event", None))
    values = event_dict.pop("positional_args", ())
    event_dict["message"] = event_dict["event"]
    event_dict["event"] = named.event
    event_dict.update(_bound)
    for name, value in named.said(values).items():
        event_dict.setdefault(name, value)
    event_dict["logger"] = record.name
    return event_dict


def _redact(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    ordered = [name for name in _FIRST if name in event_dict]
    ordered += [name for name in event_dict if name not in _FIRST]
    return {name: REDACTED.value(event_dict[name]) for name in ordered}


def _as_text(_: WrappedLogger, __: str, event_dict: EventDict) -> str:
    """One line for people: the sentence has the fields in it already."""
    whose = str(event_dict.get("role", ""))
    whose += f" {event_dict['member']}" if "member" in event_dict else ""
    line = f"{event_dict['timestamp'][:23]}Z {event_dict['level'].upper():<8} {whose + ' ' if whose else ''}"
    line += f"{event_dict['event']}: {event_dict['message']}"
    return f"{line}\n{event_dict['exception']}" if event_dict.get("exception") else line
