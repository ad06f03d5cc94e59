"""Text that came from elsewhere, made safe to print."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"(?<=://).*@")
"""Up to the last @, as passwords may well have one too."""


def printable(text: str) -> str:
    """One line that no terminal obeys: control characters, escape sequences, line ends, marks that change the writing
    direction and halves of surrogate pairs are spelled as in Python, such as `\\x1b`."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def without_login(url: str) -> str:
    """The same address without user and password: for whoever reads over one's shoulder, and for logs."""
    return _LOGIN.sub("", url)
