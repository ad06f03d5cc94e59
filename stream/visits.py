"""Where a visit comes from: campaign, referring site and channel, of a page's address and the one before it.

Of an address only the host and what begins with `utm_` is looked at; nothing else of it is kept.

The channel, by the first of these that holds:

| channel | `utm_medium` | referring site |
|---|---|---|
| `paid` | cpc, ppc, cpm, cpv, cpa, display, banner, retargeting, or begins with paid | any |
| `email` | email, e-mail, mail, newsletter | any |
| `social` | social, social-media, social-network, sm | any |
| `search` | organic, search | any |
| `referral` | referral, affiliate, partner, link | any |
| `campaign` | any other, or another of `utm_` alone | any |
| `search`, `social`, `email` | none | a search engine, a social network, a web mailer |
| `referral` | none | any other |
| `direct` | none | none, or the page's own |
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

_LONGEST = 4_096
_LONGEST_TEXT = 200
_MEDIUMS = {
    "paid": ("cpc", "ppc", "cpm", "cpv", "cpa", "display", "banner", "retargeting"),
    "email": ("email", "e-mail", "mail", "newsletter"),
    "social": ("social", "social-media", "social_media", "social-network", "sm"),
    "search": ("organic", "search"),
    "referral": ("referral", "affiliate", "partner", "link"),
}
_CHANNEL_OF_MEDIUM = {medium: channel for channel, mediums in _MEDIUMS.items() for medium in mediums}
_SEARCH = frozenset(
    (
        *("google", "bing", "duckduckgo", "yahoo", "yandex", "baidu", "ecosia", "qwant", "startpage", "seznam"),
        *("naver", "kagi", "sogou", "mojeek", "ask"),
    )
)
"""Search engines by their name in any country."""
_SITES = {
    "search": ("search.brave.com", "com.google.android.googlequicksearchbox"),
    "social": (
        *("facebook.com", "instagram.com", "threads.net", "twitter.com", "x.com", "t.co", "linkedin.com", "lnkd.in"),
        *("reddit.com", "youtube.com", "youtu.be", "tiktok.com", "pinterest.com", "vk.com", "bsky.app", "t.me"),
        *("mastodon.social", "news.ycombinator.com", "weibo.com", "snapchat.com", "tumblr.com", "discord.com"),
        *("whatsapp.com", "xing.com"),
    ),
    "email": (
        *("mail.google.com", "mail.yahoo.com", "outlook.live.com", "outlook.office.com", "outlook.office365.com"),
        *("mail.yandex.ru", "mail.proton.me", "mail.aol.com", "mail.com", "gmx.net", "web.de"),
        "com.google.android.gm",
    ),
}
_CHANNEL_OF_SITE = {site: channel for channel, sites in _SITES.items() for site in sites}


class Visit(NamedTuple):
    campaign: str | None
    campaign_source: str | None
    campaign_medium: str | None
    referrer_host: str | None
    """Without `www.`; None for the page's own site."""
    channel: str | None
    """None where nothing is known of the page nor of where it was come from."""


def visit_of(url: str | None, referrer: str | None) -> Visit:
    """What the address of a page and of the one before it say. *Cost*: 20 µs."""
    page = host_of(url)
    before = host_of(referrer)
    if before is not None and page is not None and _same_site(before, page):
        before = None
    tags = _tags(url)
    campaign, source, medium = (tags.get(f"utm_{name}") for name in ("campaign", "source", "medium"))
    if not url and not referrer:
        return Visit(None, None, None, None, None)
    return Visit(campaign, source, medium, before, _channel(medium, bool(tags), before))


def host_of(address: str | None) -> str | None:
    """The host of an address, in small letters and without `www.`; None where it has none."""
    if not address:
        return None
    try:
        host = urlsplit(address[:_LONGEST].strip()).hostname
    except ValueError:
        return None
    host = (host or "").lower().strip(".").removeprefix("www.")
    return host[:_LONGEST_TEXT] or None


def _tags(url: str | None) -> dict[str, str]:
    """What a page's address has in `utm_…`, the first of each name."""
    if not url or "utm_" not in url:
        return {}
    try:
        query = urlsplit(url[:_LONGEST].strip()).query
        pairs = parse_qsl(query, max_num_fields=100)
    except ValueError:
        return {}
    found: dict[str, str] = {}
    for name, value in pairs:
        if name.startswith("utm_") and value.strip():
            found.setdefault(name, value.strip()[:_LONGEST_TEXT])
    return found


def _channel(medium: str | None, tagged: bool, before: str | None) -> str:
    if medium is not None:
        medium = medium.lower()
        if medium.startswith("paid"):
            return "paid"
        if medium in _CHANNEL_OF_MEDIUM:
            return _CHANNEL_OF_MEDIUM[medium]
    if tagged:
        return "campaign"
    if before is None:
        return "direct"
    parts = before.split(".")
    for cut in range(len(parts) - 1):
        if (channel := _CHANNEL_OF_SITE.get(".".join(parts[cut:]))) is not None:
            return channel
    # `google.co.uk` and `de.search.yahoo.com`, but not `google.example.org`.
    return "search" if _SEARCH.intersection(parts[-3 if len(parts[-1]) == 2 else -2 : -1]) else "referral"


def _same_site(one: str, other: str) -> bool:
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
