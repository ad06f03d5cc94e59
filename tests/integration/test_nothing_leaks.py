"""After a run, no store, file, key, log or metric has a secret, an address, somebody's own id, or what nobody reads.

What producers add to a stream themselves is there as they wrote it, and is not looked at; nor is what of it could not
be read as an event, and so is kept as it came. Events that come in over HTTP are to be nowhere at all.
"""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import polars as pl
import pytest
import urllib3
import valkey
import zstandard

from sinks.deadletter import DEADLETTER_STREAM
from tests.geo import BERLIN, make_geo
from tests.ports import free_port
from tests.receiver import SECRET
from tests.stack import eventually
from tests.up import Up, running_up

_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))
STREAM = "events:{0}"
CATALOG = """
[platform]
name = "Leaks"

[event]
time = "at"
person = "user"
id = "id"
name = "event"
allowed_lateness = "1h"
out_of_orderness = "1s"

[enrich]
user_agent = "agent"
ip = "ip"
url = "url"
referrer = "referrer"

[ingest]
properties = ["page"]

[archive]
fields = ["page", "browser"]

[people]
timeline = "30d"

[sessions]
page = "page"

[actives]

[[metric]]
name = "views"
measure = "count"
by = ["browser", "country", "channel", "referrer_host"]
windows = ["10s", "1d"]

[[metric]]
name = "all_views"
measure = "count"
windows = ["10s"]

[[metric]]
name = "visitors"
measure = "distinct"
value = '"user"'
windows = ["1d"]

[[anomaly]]
name = "many"
metric = "all_views"
window = "10s"
detector = "above"
severity = { warning = 1 }

[[webhook]]
name = "ops"
url = "https://127.0.0.1:9/hook"
allow_private = ["127.0.0.0/8"]
secret_env = "HOOK_SECRET"
"""
SECRETS = {"STREAMGAUGE_PERSON_KEY": "key-leak-5d1f0c7a99", "HOOK_SECRET": SECRET}
PEOPLE = ["ann.leak@example.org", "zoë-leak/7f3a", "bob leak+1", "4711000815leak"]
MAIL, TOKEN, BEFORE, AGENT = "mail.leak@example.net", "token-leak-31", "before-leak-32", "agent-leak-33"
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
FIREFOX = f"Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0 {AGENT}"
UNSEEN = [*PEOPLE, MAIL, TOKEN, BEFORE, AGENT, BERLIN, *SECRETS.values()]


def spellings(text: str) -> set[bytes]:
    """As it may stand in JSON, in an address or in a database."""
    written = {text, json.dumps(text)[1:-1], quote(text), quote(text, safe=""), quote_plus(text)}
    return {one.encode() for one in written} | {text.encode("utf-16-le")}


NEEDLES = {spelled: text for text in UNSEEN for spelled in spellings(text)}


def found_in(place: str, raw: bytes) -> set[str]:
    return {f"{text} in {place}" for spelled, text in NEEDLES.items() if spelled in raw}


def unpacked(raw: bytes) -> Iterator[bytes]:
    """The bytes, and what is compressed in them."""
    yield raw
    at = raw.find(b"\x28\xb5\x2f\xfd")
    while at >= 0:
        with suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompressobj().decompress(raw[at:])
        at = raw.find(b"\x28\xb5\x2f\xfd", at + 1)


def of_file(path: Path) -> Iterator[bytes]:
    """All that is in a file, in every way in which it can be read."""
    raw = path.read_bytes()
    yield from unpacked(raw)
    if path.suffix == ".parquet":
        yield pl.read_parquet(path).write_ndjson().encode()
        yield repr(pl.read_parquet_metadata(path)).encode()
    elif path.suffix == ".arrow":
        yield pl.read_ipc(path).write_ndjson().encode()
    elif raw.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for row in (row for table in tables for row in database.execute(f'SELECT * FROM "{table}"')):
                for value in row:
                    yield from unpacked(value if isinstance(value, bytes) else str(value).encode())


def of_key(client: valkey.Valkey, key: bytes) -> bytes:
    """All that is in a key, whatever its type."""
    answer: Any
    match client.type(key):
        case b"stream":
            answer = client.execute_command("XRANGE", key, "-", "+")
        case b"hash":
            answer = client.hgetall(key)
        case b"zset":
            answer = client.zrange(key, 0, -1)
        case b"set":
            answer = client.smembers(key)
        case b"list":
            answer = client.lrange(key, 0, -1)
        case _:
            answer = client.get(key)
    return b"\n".join([key, *_flat(answer)])


def _flat(answer: Any) -> Iterator[bytes]:
    if isinstance(answer, Mapping):
        answer = [part for pair in answer.items() for part in pair]
    if isinstance(answer, list | tuple | set):
        for one in answer:
            yield from _flat(one)
    else:
        yield answer if isinstance(answer, bytes) else str(answer).encode()


def event(number: int, now_ms: int, **more: Any) -> dict[str, Any]:
    return {
        "at": now_ms - 1_000 - number,
        "id": f"e{number}",
        "event": "view",
        "user": PEOPLE[number % len(PEOPLE)],
        "page": f"p{number % 3}",
        "ip": BERLIN,
        "agent": FIREFOX,
        "url": f"https://shop.example/x?utm_source=letter&token={TOKEN}",
        "referrer": f"https://www.google.com/search?q={BEFORE}",
        "email": MAIL,
        **more,
    }


def refused(now_ms: int) -> list[dict[str, Any]]:
    """Events that can be read and are refused, for every reason that there is for one; without what is kept of them."""
    plain = {"user": PEOPLE[0], "ip": BERLIN, "page": "p"}
    return [
        {**plain, "at": now_ms + 10**9},
        {**plain, "at": now_ms - 86_400_000},
        {**plain, "at": 1},
        {**plain, "at": "never"},
        {**plain, "at": now_ms, "page": {"no": "text"}},
        {**plain, "at": now_ms, "agent": BOT},
    ]


Send = Callable[[Up, list[dict[str, Any]]], None]


def by_xadd(up: Up, events: list[dict[str, Any]]) -> None:
    """In all three shapes."""
    client = up.client()
    for number, one in enumerate(events):
        if number % 3 == 0:
            client.xadd(STREAM, {"data": json.dumps(one)})
        elif number % 3 == 1 or any(isinstance(value, dict) for value in one.values()):
            client.xadd(STREAM, {"batch": json.dumps([one], ensure_ascii=False)})
        else:
            client.xadd(STREAM, {name: str(value) for name, value in one.items()})


def by_http(up: Up, events: list[dict[str, Any]]) -> None:
    url = f"http://127.0.0.1:{up.port}/v1/events"
    answer = _http.request("POST", url, json=events, headers={"user-agent": FIREFOX})
    assert answer.status < 300, (answer.status, answer.data)


@pytest.mark.parametrize("send", [by_xadd, by_http])
def test_nothing_is_found_after_a_run(tmp_path: Path, send: Send) -> None:
    (tmp_path / "leaks.toml").write_text(CATALOG)
    ports = [free_port() for _ in range(3)]
    names = ("STREAMGAUGE_METRICS_PORT", "STREAMGAUGE_API_METRICS_PORT", "STREAMGAUGE_DELIVER_METRICS_PORT")
    environment = SECRETS | {name: str(port) for name, port in zip(names, ports, strict=True)}
    environment |= {
        "STREAMGAUGE_LOG_LEVEL": "DEBUG",
        "STREAMGAUGE_SNAPSHOT_S": "0.2",
        "STREAMGAUGE_GEOIP": str(make_geo(tmp_path / "geo.mmdb")),
    }
    state = tmp_path / "state"
    arguments = ("--catalog", str(tmp_path / "leaks.toml"), "--state", str(state))
    with running_up(tmp_path, free_port(), *arguments, environment=environment) as up:
        up.ready()
        client = up.client()
        now_ms = int(client.time()[0]) * 1_000
        send(up, [event(number, now_ms) for number in range(40)])
        client.xadd(STREAM, {"data": json.dumps({"at": now_ms + 20_000, "id": "last"})})
        url = f"http://127.0.0.1:{up.port}/v1/points?metric=views&window=1d&browser=Firefox&country=DE&channel=campaign"
        eventually(
            lambda: sum(point["value"] for point in _http.request("GET", url).json()["points"]) == 40,
            what=f"40 views in\n{up.said}",
        )
        # Only now is it known how late the late one is.
        send(up, refused(now_ms))
        if send is by_xadd:
            eventually(lambda: client.xlen(DEADLETTER_STREAM) == 5, what="letters for all but the bot")
        eventually(lambda: list(state.rglob("*.parquet")), within_s=40, what="a file of the archive")

        found: set[str] = set()
        for port in ports:
            found |= found_in(f"metrics {port}", _http.request("GET", f"http://127.0.0.1:{port}/metrics").data)
        for key in client.scan_iter(count=1_000):
            if key != STREAM.encode() or send is by_http:
                found |= found_in(f"key {key!r}", of_key(client, key))
        # The server's files too, in which only the stream that producers write may have anything.
        client.config_set("rdbcompression", "no")
        if send is by_xadd:
            client.delete(STREAM)
        client.bgrewriteaof()
        eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"], what="a new append-only file")
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(40) == 0, up.said
    files = [path for path in state.rglob("*") if path.is_file()]
    for path in [*files, up.output]:
        for content in of_file(path):
            found |= found_in(str(path.relative_to(tmp_path)), content)
    assert not found, "\n".join(sorted(found))
    # What was looked at is what there is to be looked at.
    kinds = {path.suffix for path in files}
    assert {".parquet", ".db", ".sqlite3", ".aof"} <= kinds, kinds
    assert "own metrics" in up.said


def test_the_scan_finds_what_is_there(tmp_path: Path) -> None:
    mail = {"mail": [f"x {MAIL}"] * 3}
    pl.DataFrame(mail).write_parquet(tmp_path / "a.parquet", compression="zstd")
    pl.DataFrame(mail).write_ipc(tmp_path / "a.arrow", compression="lz4")
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("CREATE TABLE t (one, other)")
        packed = zstandard.compress(b"before " * 50 + MAIL.encode() + b" after" * 50)
        database.execute("INSERT INTO t VALUES (1, ?)", (b"pickle" + packed,))
        database.commit()
    (tmp_path / "a.log").write_bytes(quote_plus(MAIL).encode())
    for path in sorted(tmp_path.iterdir()):
        assert {one for content in of_file(path) for one in found_in("it", content)} == {f"{MAIL} in it"}, path
