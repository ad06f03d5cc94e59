"""What people do on a visit: all that begins in one slot of time, including what follows from it later.

A visit is a few pages, and perhaps something done at the end: food is posted, or messages are written. A
post brings the visits of those who claim it, a claim leads to messages, to a pickup and to a rating. All of
it is drawn when the first visit begins, from the random numbers of that slot, and ends within `HORIZON_MS`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streamgauge.demo import incidents
from streamgauge.demo.incidents import Incident, Kind
from streamgauge.demo.population import (
    COMMUNITIES,
    COMMUNITY_SIZES,
    CROWD_MS,
    PLATFORMS,
    Ints,
    Population,
    mix,
)
from streamgauge.demo.rhythm import Rhythm
from streamgauge.demo.rows import (
    API_CALL,
    CLAIM,
    EXTRA_SERIAL,
    HOME,
    MESSAGE,
    NOTHING,
    PAGE_VIEW,
    PICKUP,
    POST,
    POST_PAGE,
    PROFILE,
    RATING,
    ROW,
    SEARCH,
    SERIALS,
    SIGNUP,
    TICKET,
    TICKET_SERIAL,
    WELCOME,
    Rows,
    copy,
    join,
)

Flags = npt.NDArray[np.bool_]

ENDPOINT_MEDIAN_MS = np.array([60.0, 140.0, 90.0, 110.0, 35.0, 50.0])
ENDPOINT_OF_PAGE = np.array([0, 1, 2, 1, 2, 4, 5, 5], np.uint8)
ENDPOINT_OF_EVENT = np.array([0, 0, 4, 2, 3, 3, 5, 5, 5], np.uint8)

# Bakeries and kitchens give away what is left when they close.
CATEGORY_BY_DAY = np.cumsum([0.22, 0.30, 0.14, 0.12, 0.16, 0.06])
CATEGORY_BY_EVENING = np.cumsum([0.38, 0.18, 0.22, 0.08, 0.09, 0.05])
GRAMS_PER_PORTION = np.array([220.0, 450.0, 420.0, 300.0, 380.0, 500.0])

STATUSES = np.array([200, 404, 429, 500, 503], np.uint16)
STATUS_REACH = np.array([0.975, 0.991, 0.994, 0.998, 1.0])
RATING_REACH = np.cumsum([0.02, 0.03, 0.09, 0.27, 0.59])

# Why somebody comes, and which pages they see after the first, in the order of PAGES.
LOOK, GIVE, CHAT, CLAIMING, JOIN = range(5)
INTENT_REACH = np.cumsum([0.62, 0.16, 0.22])
FIRST_PAGE_REACH = np.cumsum([0.64, 0.14, 0.22])
NEXT_PAGE_REACH = np.cumsum(
    [
        [0.14, 0.30, 0.34, 0.14, 0.00, 0.02, 0.06, 0.00],
        [0.05, 0.05, 0.05, 0.05, 0.75, 0.02, 0.03, 0.00],
        [0.05, 0.05, 0.20, 0.00, 0.00, 0.65, 0.05, 0.00],
        [0.02, 0.18, 0.60, 0.18, 0.00, 0.00, 0.02, 0.00],
        [0.20, 0.25, 0.35, 0.10, 0.00, 0.00, 0.10, 0.00],
    ],
    axis=1,
)
MORE_PAGES = np.array([0.50, 0.42, 0.52, 0.45, 0.40])  # parameter of the geometric distribution, by intent
MAX_PAGES = 6

# The longest chain: six pages (3 min), writing a post (1), a claimant's delay (3) and pages (3), the claim,
# its pickup (10) and rating (2), and a ticket about a call that failed (2).
HORIZON_MS = 25 * 60_000

# How many events a visit leads to, all told: measured, and held to by a test. Partners' calls come on top.
EVENTS_PER_VISIT = 6.84
EVENTS_PER_JOINING = 6.3
PARTNER_SHARE = 0.05


class Visits:
    """Makes the rows of one slot after another.

    Two instances with the same arguments make the same rows, whatever the order of slots. Incidents draw from
    random numbers of their own, so that what they leave alone is the same as in a world without them.
    """

    def __init__(
        self,
        seed: int,
        events_per_s: float,
        slot_ms: int,
        rhythm: Rhythm,
        population: Population,
        declared: Sequence[Incident],
    ) -> None:
        self._seed = seed
        self._slot_ms = slot_ms
        self._rhythm = rhythm
        self._population = population
        self._declared = declared
        events = events_per_s * slot_ms / 1000
        joining = EVENTS_PER_JOINING * population.joins_per_day * slot_ms / 86_400_000
        self._visits_per_slot = max(events * (1 - PARTNER_SHARE) - joining, 0) / EVENTS_PER_VISIT
        self._partner_calls_per_slot = events * PARTNER_SHARE

    def begun_in(self, slot: int) -> Rows:
        """All rows that follow from visits begun in this slot, in order of time."""
        start_ms = slot * self._slot_ms
        rng = np.random.default_rng([self._seed, slot])
        organic, intents = self._arrivals(rng, start_ms)
        pages, left_ms = _browse(rng, organic, intents)
        actions = [
            _messages(rng, organic.compress(intents == CHAT)),
            _signups(rng, organic.compress(intents == JOIN)),
        ]
        evening = self._rhythm.local(start_ms).hour >= 17
        posts = _posts(rng, organic.compress(intents == GIVE), left_ms[intents == GIVE], evening)
        claims, claim_pages = self._claims(rng, posts, start_ms)
        chain, claim_of = _after_claims(rng, claims)
        followed = join([posts, *actions, claims, *chain])

        # Rows of a claim that an outage swallows: the claim itself and all that would have come of it.
        swallowed = self._swallowed(claims, slot)
        first = len(followed) - sum(map(len, chain)) - len(claims)
        lost = np.zeros(len(followed), np.bool_)
        lost[first:] = swallowed[np.concatenate([np.arange(len(claims)), *claim_of])]

        views = join([pages, claim_pages])
        causes = join([views.compress(rng.random(len(views)) < 0.8), followed])
        calls = _api_calls(rng, causes)
        in_vain = np.concatenate([np.zeros(len(causes) - len(followed), np.bool_), lost])
        calls["status"][in_vain] = 503
        answered = ~in_vain | (causes["kind"] == CLAIM)  # with a failure, where the claim is lost
        partners = self._partner_calls(rng, start_ms)

        base = join([views, followed, calls, partners])
        always = np.ones(len(base), np.bool_)
        kept = np.concatenate([always[: len(views)], ~lost, answered, always[: len(partners)]])
        base["serial"] = np.arange(len(base), dtype=np.uint64)
        extra = self._disturb(base, slot)
        rows = join([base.compress(kept), _tickets(rng, base, kept), extra])
        rows["serial"] += np.uint64(slot * SERIALS)
        return rows.take(np.argsort(rows["time"], kind="stable"))

    def _arrivals(self, rng: np.random.Generator, start_ms: int) -> tuple[Rows, Ints]:
        """One row (time, person, session, community, platform) for each visit begun here, and its intent."""
        count = rng.poisson(self._visits_per_slot * self._rhythm.level(start_ms + self._slot_ms // 2))
        intents = np.searchsorted(INTENT_REACH, rng.random(count)).astype(np.int64)
        visits = self._people(rng, count, start_ms)
        visits["time"] = start_ms + (rng.random(count) * self._slot_ms).astype(np.int64)
        away = rng.random(count) < 0.12
        visits["community"][away] = np.searchsorted(np.cumsum(COMMUNITY_SIZES)[:-1], rng.random(away.sum()))
        visits["platform"][rng.random(count) < 0.1] = PLATFORMS.index("web")
        unknown = (intents == LOOK) & (rng.random(count) < 0.4)
        visits["person"][unknown] = 0
        visits["platform"][unknown] = PLATFORMS.index("web")
        visits["session"][unknown] = mix(self._seed, start_ms, np.flatnonzero(unknown))

        seats, members, times = self._population.joiners(start_ms, start_ms + self._slot_ms)
        joining = np.zeros(len(seats), ROW)
        joining["time"], joining["person"], joining["session"] = times, members, mix(members, 4)
        joining["community"] = self._population.community[seats]
        joining["platform"] = self._population.platform[seats]
        return join([visits, joining]), np.concatenate([intents, np.full(len(seats), JOIN)])

    def _people(self, rng: np.random.Generator, count: int, start_ms: int) -> Rows:
        """Rows with nothing but people of that moment in them, each where they live and on their platform."""
        crowd = self._population.crowd(start_ms - start_ms % CROWD_MS)
        drawn = crowd.draw(rng.random(count))
        seats = crowd.seats[drawn]
        rows = np.zeros(count, ROW)
        rows["person"], rows["session"] = crowd.members[drawn], crowd.sittings[drawn]
        rows["community"] = self._population.community[seats]
        rows["platform"] = self._population.platform[seats]
        return rows

    def _claims(self, rng: np.random.Generator, posts: Rows, start_ms: int) -> tuple[Rows, Rows]:
        """Claims of these posts, and the pages of all who came for one; a fifth goes without."""
        interested = np.searchsorted([0.12, 0.62, 0.92], rng.random(len(posts)))
        post = np.repeat(posts, interested)
        visits = self._people(rng, len(post), start_ms)
        delay_ms = np.minimum(5_000 + rng.exponential(50_000, len(post)), 180_000)
        visits["time"] = post["time"] + delay_ms.astype(np.int64)
        visits["community"] = post["community"]
        pages, left_ms = _browse(rng, visits, np.full(len(visits), CLAIMING))
        claims = copy(visits, CLAIM)
        for column in ("post", "category"):
            claims[column] = post[column]
        each = np.repeat(np.maximum(interested, 1), interested)
        claims["portions"] = np.maximum(post["portions"] // each, 1)
        claims["grams"] = post["grams"] * claims["portions"].astype(np.int64) // post["portions"]
        claims["time"] = left_ms + rng.integers(2_000, 15_000, len(visits))
        able = (rng.random(len(visits)) < 0.8) & (claims["person"] != post["person"])
        for ahead in (1, 2):  # nobody claims the same food twice
            again = claims[["post", "person"]][ahead:] == claims[["post", "person"]][:-ahead]
            able[ahead:] &= ~again
        return claims.compress(able), pages

    def _partner_calls(self, rng: np.random.Generator, start_ms: int) -> Rows:
        """Calls of other platforms and of monitoring, by day and by night; nobody's, on no platform."""
        calls = np.zeros(rng.poisson(self._partner_calls_per_slot), ROW)
        calls["time"] = start_ms + (rng.random(len(calls)) * self._slot_ms).astype(np.int64)
        calls["community"] = calls["platform"] = NOTHING
        calls["page"] = rng.choice([HOME, SEARCH, POST_PAGE], len(calls))
        return _api_calls(rng, calls, after_ms=1)

    def _under_way(self, slot: int, *kinds: Kind) -> list[incidents.Occurrence]:
        start_ms = slot * self._slot_ms
        declared = [it for it in self._declared if it.kind in kinds]
        return incidents.occurrences(declared, start_ms, start_ms + self._slot_ms + HORIZON_MS)

    def _swallowed(self, claims: Rows, slot: int) -> Flags:
        swallowed = np.zeros(len(claims), np.bool_)
        for outage in self._under_way(slot, Kind.CLAIMS_OUTAGE):
            hit = _during(claims, outage)
            if outage.incident.community is not None:
                hit &= claims["community"] == COMMUNITIES.index(outage.incident.community)
            swallowed |= hit & (self._luck(slot, outage).random(len(claims)) < outage.incident.severity)
        return swallowed

    def _disturb(self, rows: Rows, slot: int) -> Rows:
        """Slow and fail calls among these rows; return the page views and messages that come on top."""
        added: list[Rows] = []
        for occurrence in self._under_way(slot, Kind.SLOW_API, Kind.ERRORS, Kind.BOTS, Kind.VIRAL_POST):
            during = _during(rows, occurrence)
            if not during.any():
                continue
            rng = self._luck(slot, occurrence)
            severity = occurrence.incident.severity
            calls = during & (rows["kind"] == API_CALL)
            match occurrence.incident.kind:
                case Kind.SLOW_API:
                    slower = rows["duration_us"][calls] * severity
                    rows["duration_us"][calls] = np.minimum(slower, 60_000_000).astype(np.uint32)
                case Kind.ERRORS:
                    failed = calls & (rng.random(len(rows)) < severity)
                    rows["status"][failed] = rng.choice([500, 502, 503], failed.sum())
                case Kind.BOTS:
                    more = _multiply(rng, rows.compress(during & (rows["kind"] == PAGE_VIEW)), occurrence)
                    more["person"] = more["session"] = 0
                    more["platform"] = PLATFORMS.index("web")
                    more["page"] = SEARCH
                    added.append(more)
                case Kind.VIRAL_POST:
                    more = _multiply(rng, rows.compress(during & (rows["kind"] == MESSAGE)), occurrence)
                    writers = self._people(rng, len(more), slot * self._slot_ms)
                    for column in ("person", "session", "platform", "community"):
                        more[column] = writers[column]
                    if occurrence.incident.community is not None:
                        more["community"] = COMMUNITIES.index(occurrence.incident.community)
                    more["post"] = mix(self._seed, occurrence.start_ms)[0]
                    calling = _api_calls(rng, more)
                    added += [more, calling.compress(_during(calling, occurrence))]
        extra = join(added)
        extra["serial"] = EXTRA_SERIAL + np.arange(len(extra), dtype=np.uint64)
        return extra

    def _luck(self, slot: int, occurrence: incidents.Occurrence) -> np.random.Generator:
        return np.random.default_rng([self._seed, slot, occurrence.start_ms])


def _during(rows: Rows, occurrence: incidents.Occurrence) -> Flags:
    within: Flags = (rows["time"] >= occurrence.start_ms) & (rows["time"] < occurrence.end_ms)
    return within


def _multiply(rng: np.random.Generator, rows: Rows, occurrence: incidents.Occurrence) -> Rows:
    more = np.repeat(rows, rng.poisson(occurrence.incident.severity - 1, len(rows)))
    more["time"] += rng.integers(0, 1000, len(more))
    return more.compress(_during(more, occurrence))


def _browse(rng: np.random.Generator, visits: Rows, intents: Ints) -> tuple[Rows, Ints]:
    """The pages of these visits, visit by visit, and when each visitor has seen the last."""
    counts = np.minimum(rng.geometric(MORE_PAGES[intents]), MAX_PAGES)
    ends = np.cumsum(counts)
    pages = copy(np.repeat(visits, counts), PAGE_VIEW)
    stay_ms = np.minimum(2_500 + rng.exponential(12_000, len(pages)), 30_000).astype(np.int64)
    until = np.cumsum(stay_ms)
    before = np.concatenate([np.zeros(1, np.int64), until])[ends - counts]
    pages["time"] += until - stay_ms - np.repeat(before, counts)
    reach = NEXT_PAGE_REACH[np.repeat(intents, counts)]
    pages["page"] = np.minimum((rng.random(len(pages))[:, None] >= reach).sum(axis=1), PROFILE)
    first = ends - counts
    pages["page"][first] = np.searchsorted(FIRST_PAGE_REACH[:-1], rng.random(len(visits)))
    pages["page"][first[intents == JOIN]] = WELCOME
    left_ms: Ints = visits["time"] + (until[ends - 1] if len(visits) else 0) - before
    return pages, left_ms


def _posts(rng: np.random.Generator, visits: Rows, left_ms: Ints, evening: bool) -> Rows:
    """What is posted: one giver in eight thinks better of it."""
    posts = copy(visits, POST)
    posts["time"] = left_ms + rng.integers(10_000, 60_000, len(posts))
    reach = CATEGORY_BY_EVENING if evening else CATEGORY_BY_DAY
    posts["category"] = np.searchsorted(reach[:-1], rng.random(len(posts)))
    posts["portions"] = np.minimum(rng.geometric(0.3, len(posts)), 25)
    heavy = GRAMS_PER_PORTION[posts["category"]] * np.exp(0.35 * rng.standard_normal(len(posts)))
    posts["grams"] = np.maximum(posts["portions"] * heavy, 10).astype(np.uint32)
    posts["post"] = mix(posts["person"], posts["time"])
    return posts.compress(rng.random(len(posts)) < 0.88)


def _messages(rng: np.random.Generator, visits: Rows) -> Rows:
    messages = np.repeat(visits, rng.integers(1, 5, len(visits)))
    messages = copy(messages, MESSAGE)
    messages["time"] += rng.integers(5_000, 150_000, len(messages))
    return messages


def _signups(rng: np.random.Generator, visits: Rows) -> Rows:
    signups = copy(visits, SIGNUP)
    signups["time"] += rng.integers(1, 2_000, len(visits))
    return signups


def _after_claims(rng: np.random.Generator, claims: Rows) -> tuple[list[Rows], list[Ints]]:
    """Messages, pickups and ratings that follow claims, and for each row which claim."""
    each = np.arange(len(claims))
    about = np.repeat(each, rng.integers(0, 4, len(claims)))
    messages = copy(claims.take(about), MESSAGE)
    messages["post"] = claims["post"][about]
    messages["time"] += rng.integers(3_000, 180_000, len(messages))

    fetched = each[rng.random(len(claims)) < 0.84]
    pickups = claims.take(fetched)
    pickups["kind"] = PICKUP
    way_ms = np.clip(300_000 * np.exp(0.45 * rng.standard_normal(len(pickups))), 90_000, 600_000)
    pickups["time"] += way_ms.astype(np.int64)

    chosen = rng.random(len(pickups)) < 0.58
    rated = fetched[chosen]
    ratings = copy(pickups.compress(chosen), RATING)
    ratings["post"], ratings["category"] = claims["post"][rated], claims["category"][rated]
    ratings["time"] += rng.integers(10_000, 120_000, len(ratings))
    ratings["rating"] = 1 + np.searchsorted(RATING_REACH[:-1], rng.random(len(ratings)))
    return [messages, pickups, ratings], [about, fetched, rated]


def _api_calls(rng: np.random.Generator, causes: Rows, after_ms: int = 250) -> Rows:
    """The call to the API that each of these rows makes."""
    calls = copy(causes, API_CALL)
    calls["time"] += rng.integers(0, after_ms, len(calls))
    by_page = ENDPOINT_OF_PAGE[causes["page"]]
    calls["endpoint"] = np.where(causes["kind"] == PAGE_VIEW, by_page, ENDPOINT_OF_EVENT[causes["kind"]])
    median_us = 1000 * ENDPOINT_MEDIAN_MS[calls["endpoint"]]
    calls["duration_us"] = median_us * np.exp(0.55 * rng.standard_normal(len(calls)))
    calls["status"] = STATUSES[np.searchsorted(STATUS_REACH[:-1], rng.random(len(calls)))]
    return calls


def _tickets(rng: np.random.Generator, rows: Rows, kept: Flags) -> Rows:
    """Who gets no answer complains, sometimes. The draw does not depend on how many calls have failed."""
    angry = rng.random(len(rows)) < 0.03
    patience_ms = rng.integers(15_000, 120_000, len(rows))
    failed = (rows["kind"] == API_CALL) & (rows["status"] >= 500) & (rows["person"] > 0)
    calls = angry & failed & kept
    tickets = copy(rows.compress(calls), TICKET)
    tickets["time"] += patience_ms[calls]
    tickets["serial"] += TICKET_SERIAL
    return tickets
