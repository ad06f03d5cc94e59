"""From points to InfluxDB through a spool, with a real HTTP server that answers what InfluxDB would."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from sinks.errors import Misconfigured, Retryable
from sinks.influx import InfluxSink
from sinks.influx_tiers import Buckets
from sinks.line_protocol import LineEncoder
from sinks.records import DeadLetter, Point, State
from sinks.spool_places import Places, left_bytes
from stream.batches import Emission
from stream.influx_writer import InfluxWriter, influx_writer
from stream.meters import Meters
from stream.walltime import clock_ms
from stream.writers import Patience
from tests.alerts import alert
from tests.engines import FakeInflux2, Scripted, fake_influx2, influx1, victoria_metrics
from tests.stack import eventually

START_MS = 1_442_016_000_000
WIDTHS = {"10s": 10_000, "1h": 3_600_000, "day": 86_400_000}
ROOMY = 100_000_000


def point(
    i: int = 0, metric: str = "edits", *, state: State = State.FINAL, window: str = "10s", value: float = 1.0
) -> Point:
    return Point(metric, window, START_MS + i * 10_000, (("n", str(i)),), value, 1, state, 1, START_MS)


def lines_of(*points: Point) -> list[bytes]:
    return LineEncoder().lines(points)


class Rig:
    """A processor's writer, with what it told the others."""

    def __init__(
        self,
        fake: FakeInflux2,
        root: Path,
        *,
        limit_bytes: int = ROOMY,
        processes: int = 1,
        member: int = 0,
        buckets: Buckets | None = None,
        token: str | None = None,
    ) -> None:
        self.meters = Meters()
        self.refused: list[DeadLetter] = []
        self.stopped: list[Misconfigured] = []
        self.refuse_fails = 0
        sink = InfluxSink(
            fake.url,
            token or fake.token,
            fake.org,
            buckets or Buckets(fake.bucket, widths_ms=WIDTHS),
            timeout_s=0.5,
            open_points=True,
        )
        places = Places(root, processes, member)
        self.writer = InfluxWriter(sink, places, limit_bytes, self.meters, clock_ms)
        self.writer.setup()

    def start(self, *, drains: bool = True) -> Rig:
        self.writer.start(self._refuse, self.stopped.append, drains=drains)
        return self

    def _refuse(self, letters: Sequence[DeadLetter]) -> None:
        if self.refuse_fails:
            self.refuse_fails -= 1
            raise Retryable("Valkey is away")
        self.refused += letters

    def read(self, name: str, **labels: str) -> float:
        value = self.meters.registry.get_sample_value(f"streamgauge_processor_{name}", labels)
        assert value is not None
        return value

    def emptied(self) -> None:
        eventually(lambda: self.read("influx_waiting_lines") == 0, within_s=30, what="an empty spool")


@contextmanager
def rig(fake: FakeInflux2, root: Path, **settings: object) -> Iterator[Rig]:
    made = Rig(fake, root, **settings).start()  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.writer.close()


@pytest.fixture
def fake() -> Iterator[FakeInflux2]:
    with fake_influx2() as server:
        yield server


def test_points_and_alerts_arrive(fake: FakeInflux2, tmp_path: Path) -> None:
    fake.more_buckets = ("days",)
    with rig(fake, tmp_path, buckets=Buckets(fake.bucket, None, "days", WIDTHS)) as made:
        made.writer.write([point(1), point(0), point(2, window="day"), point(3, state=State.OPEN)])
        made.writer.write_alerts([(START_MS, alert())])
        eventually(lambda: len(fake.written) == 5)
        made.emptied()
        assert fake.by_bucket["days"] == lines_of(point(2, window="day"))
        # Open ones first, and of the final ones the oldest window first; all in one request.
        assert fake.by_bucket[fake.bucket][:3] == lines_of(point(3, state=State.OPEN), point(0), point(1))
        assert fake.written[-1].startswith(b"alerts,") or fake.written[-2].startswith(b"alerts,")
        assert made.read("sent_points_total", sink="influx") == 5
        assert made.read("influx_last_success_timestamp_seconds") > 0
        assert made.read("influx_waiting_bytes") == made.read("influx_oldest_waiting_seconds") == 0


def test_lines_are_sent_by_the_thousand(fake: FakeInflux2, tmp_path: Path) -> None:
    fake.always = Scripted(503, headers=(("Retry-After", "0.3"),))
    with rig(fake, tmp_path) as made:
        for i in range(120):
            made.writer.write([point(i * 100 + j) for j in range(100)])
        eventually(lambda: fake.requests)
        fake.sizes.clear()
        fake.always = None
        made.emptied()
    assert len(fake.written) == 12_000
    taken = [size for size in fake.sizes if size]
    assert max(taken) <= 5_000
    assert len(taken) <= 5


def test_of_what_was_rewritten_while_it_waited_only_the_last_is_sent(fake: FakeInflux2, tmp_path: Path) -> None:
    made = Rig(fake, tmp_path)
    for value in range(5):
        made.writer.write([point(0, state=State.OPEN, value=value), point(1, state=State.OPEN, value=value)])
    made.writer.write([point(0, value=10)])
    made.writer.write([point(0, state=State.CORRECTED, value=11)])
    made.start()
    made.emptied()
    made.writer.close()
    assert sorted(fake.written) == sorted(
        lines_of(point(0, state=State.CORRECTED, value=11), point(1, state=State.OPEN, value=4))
    )


@pytest.mark.parametrize(
    "answer",
    [
        Scripted(500, "internal error"),
        Scripted(503, "overloaded"),
        Scripted(503, "overloaded", (("Retry-After", "0.2"),)),
        Scripted(429, "slow down", (("Retry-After", "0.2"),)),
        Scripted(408, "timeout"),
        Scripted(502, body=b"<html>bad gateway</html>"),
        Scripted(204, after_s=2.0),
        Scripted(204, reset=True),
    ],
    ids=str,
)
def test_a_passing_fault_costs_nothing(fake: FakeInflux2, tmp_path: Path, answer: Scripted) -> None:
    fake.next.extend([answer, answer])
    with rig(fake, tmp_path) as made:
        made.writer.write([point(i) for i in range(10)])
        made.emptied()
        assert fake.written == lines_of(*(point(i) for i in range(10)))
        assert made.read("retries_total", stage="influx") == 2
        assert made.read("sent_points_total", sink="influx") == 10


def test_an_outage_is_said_once_with_how_much_waits_and_so_is_its_end(
    fake: FakeInflux2, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake.next.extend([Scripted(500, "no disk")] * 4)
    with caplog.at_level(logging.INFO), rig(fake, tmp_path) as made:
        made.writer.write([point(i) for i in range(3)])
        made.emptied()
        eventually(lambda: "takes writes again" in caplog.text)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "500: no disk" in warnings[0]
    assert "3 lines" in warnings[0]


def test_refused_lines_become_dead_letters_with_the_servers_message(fake: FakeInflux2, tmp_path: Path) -> None:
    with rig(fake, tmp_path) as made:
        made.refuse_fails = 2  # they are not forgotten while Valkey is away
        made.writer.write([point(i, "conflict" if i == 3 else "edits") for i in range(10)])
        made.emptied()
        assert [(letter.stream, letter.raw) for letter in made.refused] == [
            ("influx", lines_of(point(3, "conflict"))[0])
        ]
        assert "field type conflict" in made.refused[0].message
        assert set(fake.written) == {line for line in lines_of(*(point(i) for i in range(10) if i != 3))}
        assert made.read("discarded_points_total", sink="influx") == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Scripted(401, "unauthorized access"), "INFLUX_TOKEN"),
        (Scripted(403, "insufficient permissions"), "INFLUX_TOKEN"),
        (Scripted(404, 'bucket "a-bucket" not found'), "INFLUX_BUCKET"),
    ],
)
def test_what_a_person_must_put_right_stops_it_and_loses_nothing(
    fake: FakeInflux2, tmp_path: Path, answer: Scripted, says: str
) -> None:
    with rig(fake, tmp_path) as made:
        made.writer.write([point(0)])
        made.emptied()
        fake.always = answer
        made.writer.write([point(1)])
        eventually(lambda: made.stopped)
        made.writer.write([point(2)])
        assert says in str(made.stopped[0])
    fake.always = None
    with rig(fake, tmp_path) as made:
        made.emptied()
    assert fake.written == lines_of(point(0), point(1), point(2))


def test_what_waits_goes_to_the_bucket_that_is_set_when_it_is_sent(fake: FakeInflux2, tmp_path: Path) -> None:
    with rig(fake, tmp_path, buckets=Buckets(fake.bucket, "typo", None, WIDTHS)) as made:
        made.writer.write([point(0, window="1h")])
        eventually(lambda: made.stopped)
    fake.more_buckets = ("hours",)
    with rig(fake, tmp_path, buckets=Buckets(fake.bucket, "hours", None, WIDTHS)) as made:
        made.emptied()
    assert fake.by_bucket == {"hours": lines_of(point(0, window="1h"))}


def test_the_writer_does_not_wait_for_a_server_that_says_nothing(fake: FakeInflux2, tmp_path: Path) -> None:
    fake.always = Scripted(204, after_s=60)
    with rig(fake, tmp_path) as made:
        for i in range(50):
            made.writer.write([point(i)])
        assert made.read("influx_waiting_lines") == 50
        assert made.read("influx_oldest_waiting_seconds") >= 0


def test_what_is_killed_goes_on_where_it_was(fake: FakeInflux2, tmp_path: Path) -> None:
    fake.always = Scripted(500)
    with rig(fake, tmp_path / "a") as made:
        made.writer.write([point(0, state=State.OPEN), point(1)])
        shutil.copytree(tmp_path / "a", tmp_path / "b")
    fake.always = None
    with rig(fake, tmp_path / "b") as made:
        made.emptied()
    assert fake.written == lines_of(point(0, state=State.OPEN), point(1))


def test_at_the_end_what_can_be_sent_is_sent(fake: FakeInflux2, tmp_path: Path) -> None:
    with rig(fake, tmp_path) as made:
        made.writer.write([point(0)])
    assert fake.written == lines_of(point(0))
    fake.always = Scripted(500)
    with rig(fake, tmp_path) as made:
        made.writer.write([point(1)])
    assert left_bytes(tmp_path) > 0


def test_a_full_spool_lets_go_of_open_points_first_and_then_waits(
    fake: FakeInflux2, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake.always = Scripted(500)
    draining = threading.Event()
    with rig(fake, tmp_path, limit_bytes=60_000) as made:
        write = influx_writer(made.writer, Patience("influx", draining, None, made.meters))

        def written() -> None:
            for i in range(2_000):
                write([Emission([], [point(2 * i), point(2 * i + 1, state=State.OPEN)])])

        worker = threading.Thread(target=written)
        worker.start()
        eventually(lambda: made.read("influx_dropped_lines_total") > 100, within_s=60)
        eventually(lambda: "has no room" in caplog.text, within_s=60)
        assert "% full" in caplog.text
        assert "lines of open windows were let go of" in caplog.text
        assert worker.is_alive()
        fake.always = None
        worker.join(60)
        assert not worker.is_alive()
        made.emptied()
        sent = [line for line in fake.written if b"final=true" in line]
        assert sent == lines_of(*(point(2 * i) for i in range(2_000)))
        opened = len(fake.written) - len(sent)
        # Those that were let go of while they were on their way are counted although they arrived.
        assert 2_000 <= opened + made.read("influx_dropped_lines_total") <= 2_000 + 5_000


def test_a_full_spool_lets_the_processor_end(fake: FakeInflux2, tmp_path: Path) -> None:
    fake.always = Scripted(500)
    draining = threading.Event()
    draining.set()
    with rig(fake, tmp_path, limit_bytes=1) as made:
        write = influx_writer(made.writer, Patience("influx", draining, None, made.meters))
        write([Emission([], [point(0)])])
        with pytest.raises(Retryable, match="INFLUX_SPOOL_MB"):
            write([Emission([], [point(1)])])


def test_what_is_left_of_another_number_of_processes_is_sent_first(fake: FakeInflux2, tmp_path: Path) -> None:
    for member in range(2):
        before = Rig(fake, tmp_path, processes=2, member=member)
        before.writer.write([point(7, value=member), point(member)])
        before.writer.close()
    fake.always = Scripted(500)
    other = Rig(fake, tmp_path, processes=3, member=1).start(drains=False)
    other.writer.write([point(7, value=8)])
    with rig(fake, tmp_path, processes=3, member=0) as first:
        first.writer.write([point(7, value=9)])
        eventually(lambda: fake.requests)
        fake.always = None
        first.emptied()
        other.emptied()
    other.writer.close()
    old = set(lines_of(*(point(7, value=member) for member in range(2)), point(0), point(1)))
    assert set(fake.written[:4]) == old
    assert set(fake.written[4:]) == set(lines_of(point(7, value=8), point(7, value=9)))


def test_a_type_conflict_in_a_real_engine_is_a_dead_letter(tmp_path: Path) -> None:
    with influx1(tmp_path) as engine:
        database = engine.new_database()
        engine.write(database, f'busy,n=3,window=10s value="text" {START_MS}')
        made = Rig(FakeInflux2(url=engine.url, bucket=database), tmp_path / "spool").start()
        made.writer.write([point(i, "busy" if i == 3 else "edits") for i in range(20)])
        made.emptied()
        assert [letter.raw for letter in made.refused] == lines_of(point(3, "busy"))
        assert "field type conflict" in made.refused[0].message
        assert len(engine.rows(database, "SELECT value FROM edits")) == 19
        made.writer.close()


def test_a_database_that_a_real_engine_lost_stops_it(tmp_path: Path) -> None:
    with influx1(tmp_path) as engine:
        made = Rig(FakeInflux2(url=engine.url, bucket="nowhere"), tmp_path / "spool").start()
        made.writer.write([point(0)])
        eventually(lambda: made.stopped)
        assert "Create the bucket 'nowhere'" in str(made.stopped[0])
        made.writer.close()


def test_victoria_metrics_ends_with_the_last_value(tmp_path: Path) -> None:
    with victoria_metrics(tmp_path) as engine:
        made = Rig(FakeInflux2(url=engine.url), tmp_path / "spool")
        for value in range(3):
            made.writer.write([point(0, "rewritten", value=value)])
        made.start()
        made.emptied()
        made.writer.close()
        [series] = engine.series(__name__="rewritten_value")
        assert series["values"] == [2]
