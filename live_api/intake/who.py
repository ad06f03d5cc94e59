"""Whose an event is: a person's id becomes a pseudonym before anything is written, or there is nobody."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import xxhash

from live_api.intake.kept import Event, Kept
from stream.convert import scalar_text
from stream.enrich import made
from stream.intake import Ingest

_SCALARS = (str, int, float)
_MOST_KNOWN = 100_000
_YES = frozenset({"true", "1", "yes", "granted"})


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sends a request, as far as its events have to know. Nothing of it is kept."""

    followed: bool = True
    """False where the browser asks not to be: then none of the events has a person."""
    address: str | None = None
    """Of a browser; None for programs, which send the events of others."""
    browser: str | None = None
    """What it calls itself."""
    page: str | None = None
    """Address of the page."""
    site: str = ""
    """Host of the page."""
    salt: bytes | None = None
    """Of the day, where the catalog wants people to be told apart without cookies."""


class Who:
    """Puts a pseudonym in the place of the person's id: of the catalog's own field, or else of the anonymous id, or
    else of the visitor of the day. What says so besides is gone afterwards, whatever it was."""

    def __init__(
        self,
        kept: Kept,
        person: str,
        ingest: Ingest,
        pseudonym: Callable[[str], str],
        *,
        keeps_consent: bool,
        address: str | None = None,
        browser: str | None = None,
    ) -> None:
        """`pseudonym` may raise SinkError, and is called for each person who was not there lately. `address` and
        `browser` are fields in which an event says from where it is itself."""
        self._person = kept.field(person)
        self._anonymous = None if ingest.anonymous == person else kept.field(ingest.anonymous)
        self._consent = kept.field(ingest.consent)
        self._keeps_consent = keeps_consent
        self._pseudonym = pseudonym
        self._known: dict[int, str] = {}
        self._address = None if address is None else kept.field(address)
        self._browser = None if browser is None else kept.field(browser)

    def settle(self, events: Sequence[Event], visitor: Visitor) -> None:
        """Change all `events`. Raises SinkError."""
        for event in events:
            anonymous = None
            if self._anonymous is not None:
                anonymous = self._anonymous.get(event)
                if anonymous is not None:
                    self._anonymous.set(event, msgspec.UNSET)
            consent = self._consent.get(event)
            if consent is not None and not self._keeps_consent:
                self._consent.set(event, msgspec.UNSET)
            if not visitor.followed or _refuses(consent):
                self._person.set(event, msgspec.UNSET)
                continue
            person = self._person.get(event)
            if person is None:
                person = anonymous if isinstance(anonymous, _SCALARS) else self._of_the_day(event, visitor)
            if person is None:
                self._person.set(event, msgspec.UNSET)
            elif isinstance(person, _SCALARS):
                # What is no text, number or truth value stays, for the decoder to refuse it.
                text = person if isinstance(person, str) else scalar_text(person)
                self._person.set(event, self._made(text))

    def _made(self, person: str) -> str:
        """The pseudonym of an id, from what is known of the last ones: by 64 bits, and so not by the ids themselves."""
        known = xxhash.xxh3_64_intdigest(person.encode())
        found = self._known.get(known)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                # Emptied rather than evicted one by one: refilling costs little and needs no order kept.
                self._known.clear()
            found = self._known[known] = made(self._pseudonym(person))
        return found

    def _of_the_day(self, event: Event, visitor: Visitor) -> str | None:
        if visitor.salt is None:
            return None
        address = (self._address and self._address.get(event)) or visitor.address
        browser = (self._browser and self._browser.get(event)) or visitor.browser
        if not isinstance(address, str) or not isinstance(browser, str):
            return None
        return visitor_of_the_day(visitor.salt, address, browser, visitor.site)


def visitor_of_the_day(salt: bytes, address: str, browser: str, site: str) -> str:
    """A name for whoever has this address and browser on this site, as long as there is this salt."""
    return hmac.digest(salt, "\0".join((address, browser, site)).encode(errors="replace"), hashlib.sha256).hex()


def _refuses(consent: Any) -> bool:
    """Whether somebody may not be followed. Whatever is said and is no clear yes is taken for a no."""
    if consent is None:
        return False
    yes = consent.strip().lower() in _YES if isinstance(consent, str) else consent is True or consent == 1
    return not yes
