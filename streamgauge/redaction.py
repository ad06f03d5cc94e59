"""Secrets never leave: what takes them out of a text, wherever they got into it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, urlsplit

HIDDEN = "***"
SHORTEST = 6
"""A shorter secret is in too many ordinary words to be looked for by itself; by its surroundings it is still found."""
_PATTERNS = (
    (re.compile(r"(?<=://)([^\s/:@]*):([^\s@]+)@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"\bsg_[A-Za-z0-9_-]{8,}"), f"sg_{HIDDEN}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]+"), f"whsec_{HIDDEN}"),
    (re.compile(r"\b(Bearer|Token|Basic) +[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), HIDDEN),
    (
        re.compile(r"(?i)([?&](?:access_|id_)?(?:token|ticket|key|secret|password|sig|code)=)[^&\s'\"]+"),
        rf"\1{HIDDEN}",
    ),
)


class Redactor:
    """Takes known secrets, and what looks like one, out of texts. *Cost*: a few microseconds a text."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._found: re.Pattern[str] | None = None

    def hide(self, *secrets: str | None) -> None:
        """From now on these do not appear, nor as a URL or JSON writes them."""
        for secret in secrets:
            for part in (secret or "").split():
                if len(part) >= SHORTEST:
                    self._known |= {part, quote(part, safe=""), quote(part), json.dumps(part)[1:-1], repr(part)[1:-1]}
        if self._known:
            longest_first = sorted(self._known, key=len, reverse=True)
            self._found = re.compile("|".join(map(re.escape, longest_first)))

    def hide_passwords(self, urls: Iterable[str | None]) -> None:
        """The same for the passwords that are in URLs."""
        for url in urls:
            try:
                password = urlsplit(url or "").password
            except ValueError:
                continue
            self.hide(password)

    def __call__(self, text: str) -> str:
        if self._found is not None:
            text = self._found.sub(HIDDEN, text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text

    def value(self, found: object) -> object:
        """Anything that is logged, ready to be written: texts without secrets, numbers as they are."""
        if found is None or isinstance(found, bool | int | float):
            return found
        if isinstance(found, dict):
            return {str(name): self.value(one) for name, one in found.items()}
        if isinstance(found, list | tuple):
            return [self.value(one) for one in found]
        return self(str(found))


REDACTED = Redactor()
"""What knows this process's secrets; for logs, and for texts that leave it by other ways."""
