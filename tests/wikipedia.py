"""Wikipedia edits for tests: the real sample where it is at hand, and always a small one made here."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.stack import SHARED

SAMPLE = SHARED / "data" / "wikipedia_edits" / "wikiticker-2015-09-12-sampled.json.gz"


@dataclass(frozen=True)
class Expected:
    """What the day windows add up to."""

    edits: int
    added: int
    deleted: int
    robots: int
    channels: int


REAL = Expected(39_244, 9_385_573, 394_298, 15_420, 51)


def generate(path: Path, *, count: int = 3_000, seed: int = 5) -> Expected:
    """Write a file of the sample's shape: out of order, some dates far off, gzipped."""
    random_ = random.Random(seed)
    start = datetime(2015, 9, 12, tzinfo=UTC)
    channels = [f"#{language}.wikipedia" for language in ("en", "de", "fr", "vi", "nl", "ja", "ru")]
    totals = [0, 0, 0]
    seen = set()
    with gzip.open(path, "wt") as file:
        for number in range(count):
            when = start + timedelta(milliseconds=number * 20_000 + random_.randint(-60_000, 60_000))
            if random_.random() < 0.01:
                when -= timedelta(days=random_.randint(1, 45))
            channel = random_.choice(channels)
            added, deleted, robot = random_.randint(0, 5_000), random_.randint(0, 300), random_.random() < 0.4
            seen.add(channel)
            for place, amount in enumerate((added, deleted, robot)):
                totals[place] += amount
            event = {
                "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "channel": channel,
                "user": f"user {random_.randint(1, 500)}",
                "namespace": random_.choice(("Main", "Talk", "User")),
                "countryIsoCode": random_.choice((None, "DE", "US")),
                "isRobot": robot,
                "added": added,
                "deleted": deleted,
                "delta": added - deleted,
            }
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
    return Expected(count, *totals, len(seen))


def cases(directory: Path) -> list[tuple[Path, Expected]]:
    """Every file there is, with what it holds."""
    made = directory / "generated.json.gz"
    found = [(made, generate(made))]
    if SAMPLE.exists():
        found.append((SAMPLE, REAL))
    return found
