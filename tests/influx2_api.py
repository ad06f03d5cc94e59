"""InfluxDB 2's management, write and query API as a real HTTP server over rows in memory, and InfluxDB 1.8 in front of
a real InfluxDB 1.6.

Tokens are held to what they may do, and refused as InfluxDB 2 refuses them. Flux is answered by `tests.flux`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import urllib3

from tests.flux import FluxError, Table, Written, ask, rfc3339

Answer = tuple[int, Any]
_HOUR_S = 3600


@dataclass
class Influx2:
    """What is there: organisations, buckets, tokens, mappings and rows, each as JSON has it, by id."""

    operator: str = "the-operators-token"
    orgs: dict[str, dict[str, Any]] = field(default_factory=dict)
    buckets: dict[str, dict[str, Any]] = field(default_factory=dict)
    authorizations: dict[str, dict[str, Any]] = field(default_factory=dict)
    dbrps: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, list[Written]] = field(default_factory=dict)
    """By the id of the bucket."""
    virtual: bool = True
    """Whether each bucket is a database to InfluxQL by itself."""
    version: str = "v2.7.12"
    changes: list[str] = field(default_factory=list)
    """Every request that was to change something but points."""
    queries: list[str] = field(default_factory=list)
    url: str = ""

    def bucket(self, name: str) -> dict[str, Any]:
        [found] = [one for one in self.buckets.values() if one["name"] == name]
        return found

    def keeps_s(self, name: str) -> int:
        return sum(rule["everySeconds"] for rule in self.bucket(name)["retentionRules"])

    def named(self) -> dict[str, list[Written]]:
        return {one["name"]: self.rows.get(one["id"], []) for one in self.buckets.values()}

    def store(self, bucket: str, lines: str) -> None:
        """Write lines of line protocol, in milliseconds, past all rights."""
        rows = self.rows.setdefault(self.bucket(bucket)["id"], [])
        for line in lines.splitlines():
            row = parse_line(line)
            same = (row.measurement, row.tags, row.time_ms)
            before = [one for one in rows if (one.measurement, one.tags, one.time_ms) == same]
            rows[:] = [one for one in rows if one not in before]
            fields = {**(before[0].fields if before else {}), **row.fields}
            rows.append(Written(*same, fields))

    def answer(self, method: str, path: str, query: Mapping[str, str], token: str, body: bytes) -> Answer:
        """Status and JSON, or text."""
        if token != self.operator and not any(one["token"] == token for one in self.authorizations.values()):
            return 401, {"code": "unauthorized", "message": "unauthorized access"}
        if path == "/api/v2/write":
            return self._write(query, token, body)
        if path == "/api/v2/query":
            return self._query(json.loads(body)["query"], token)
        if path == "/query":
            return self._influxql(query, token)
        _, _, _, kind, *rest = [*path.split("/"), ""] if path.startswith("/api/v2/") else ["", "", "", ""]
        known: Any = {
            "orgs": self.orgs,
            "buckets": self.buckets,
            "authorizations": self.authorizations,
            "dbrps": self.dbrps,
        }.get(kind)
        if known is None:
            return 404, {"code": "not found", "message": "path not found"}
        if method != "GET":
            self.changes.append(f"{method} {kind}")
            if token != self.operator:
                return 401, {"code": "unauthorized", "message": f"write:{kind} is unauthorized"}
        if method == "POST":
            return getattr(self, f"_make_{kind}")(json.loads(body))
        if method == "PATCH":
            return self._patch(rest[0], json.loads(body))
        return self._list(kind, known, query, token)

    def _may(self, token: str, action: str, bucket_id: str) -> bool:
        if token == self.operator:
            return True
        return any(
            permission["action"] == action
            and permission["resource"] == {"type": "buckets", "id": bucket_id, "orgID": permission["resource"]["orgID"]}
            for one in self.authorizations.values()
            if one["token"] == token
            for permission in one["permissions"]
        )

    def _list(self, kind: str, known: dict[str, dict[str, Any]], query: Mapping[str, str], token: str) -> Answer:
        found = list(known.values())
        if "org" in query:
            same = [one for one in self.orgs.values() if one["name"] == query["org"]]
            if not same:
                return 404, {"code": "not found", "message": f'organization name "{query["org"]}" not found'}
            found = same if kind == "orgs" else [one for one in found if one["orgID"] == same[0]["id"]]
        if "orgID" in query:
            found = [one for one in found if one["orgID"] == query["orgID"]]
        if "name" in query:
            found = [one for one in found if one["name"] == query["name"]]
        if kind == "buckets":
            found = [one for one in found if self._may(token, "read", one["id"])]
        elif token != self.operator:
            found = []
        if kind != "dbrps":
            return 200, {kind: found}
        found = [one for one in found if one["bucketID"] == query["bucketID"]]
        if self.virtual and not found:
            bucket = self.buckets[query["bucketID"]]
            about = {"database": bucket["name"], "retention_policy": "autogen", "default": True, "virtual": True}
            found = [about | {"id": bucket["id"], "orgID": bucket["orgID"], "bucketID": bucket["id"]}]
        return 200, {"content": found}

    def _make_orgs(self, wanted: dict[str, Any]) -> Answer:
        return self._made(self.orgs, {"name": wanted["name"]})

    def _make_buckets(self, wanted: dict[str, Any]) -> Answer:
        if any(one["name"] == wanted["name"] and one["orgID"] == wanted["orgID"] for one in self.buckets.values()):
            return 422, {"code": "conflict", "message": f"bucket with name {wanted['name']} already exists"}
        bad = _too_short(wanted["retentionRules"])
        return bad or self._made(self.buckets, {"type": "user", **wanted})

    def _make_authorizations(self, wanted: dict[str, Any]) -> Answer:
        return self._made(self.authorizations, {"status": "active", **wanted, "token": secrets.token_urlsafe(40)})

    def _make_dbrps(self, wanted: dict[str, Any]) -> Answer:
        return self._made(self.dbrps, {**wanted, "virtual": False})

    def _made(self, known: dict[str, dict[str, Any]], thing: dict[str, Any]) -> Answer:
        own = secrets.token_hex(8)
        known[own] = {"id": own, **thing}
        return 201, known[own]

    def _patch(self, own: str, wanted: dict[str, Any]) -> Answer:
        bad = _too_short(wanted["retentionRules"])
        if bad is None:
            self.buckets[own] |= wanted
        return bad or (200, self.buckets[own])

    def _write(self, query: Mapping[str, str], token: str, body: bytes) -> Answer:
        found = [one for one in self.buckets.values() if one["name"] == query["bucket"]]
        if not found:
            return 404, {"code": "not found", "message": f'bucket "{query["bucket"]}" not found'}
        if not self._may(token, "write", found[0]["id"]):
            return 403, {"code": "forbidden", "message": "insufficient permissions for write"}
        assert query["precision"] == "ms"
        self.store(query["bucket"], body.decode())
        return 204, None

    def _query(self, query: str, token: str) -> Answer:
        self.queries.append(query)
        readable = {one["name"] for one in self.buckets.values() if self._may(token, "read", one["id"])}
        try:
            tables = ask(query, {name: rows for name, rows in self.named().items() if name in readable})
        except FluxError as error:
            code = 404 if "could not find bucket" in str(error) else 400
            return code, {"code": "not found" if code == 404 else "invalid", "message": str(error)}
        return 200, _csv(tables)

    def _influxql(self, query: Mapping[str, str], token: str) -> Answer:
        """`SHOW FIELD KEYS FROM …` and nothing else."""
        bucket = next((one for one in self.buckets.values() if one["name"] == query["db"]), None)
        mapped = self.virtual or any(one["database"] == query["db"] for one in self.dbrps.values())
        if bucket is None or not mapped or not self._may(token, "read", bucket["id"]):
            return 404, {"error": f"database not found: {query['db']}"}
        wanted = re.findall(r'"([^"]+)"', query["q"].removeprefix("SHOW FIELD KEYS FROM "))
        kinds: dict[str, dict[str, str]] = {}
        for row in self.rows.get(bucket["id"], []):
            for name, value in row.fields.items() if row.measurement in wanted else ():
                kinds.setdefault(row.measurement, {})[name] = _KINDS[type(value)][0]
        series = [
            {"name": name, "columns": ["fieldKey", "fieldType"], "values": [list(one) for one in found.items()]}
            for name, found in kinds.items()
        ]
        return 200, {"results": [{"statement_id": 0, "series": series} if series else {"statement_id": 0}]}


_KINDS = {
    float: ("float", "double"),
    int: ("integer", "long"),
    bool: ("boolean", "boolean"),
    str: ("string", "string"),
}
"""What InfluxQL and what Flux call them."""


def _too_short(rules: list[dict[str, Any]]) -> Answer | None:
    if any(0 < rule["everySeconds"] < _HOUR_S for rule in rules):
        message = "expiration seconds must be greater than or equal to one hour"
        return 422, {"code": "unprocessable entity", "message": message}
    return None


def _csv(tables: list[Table]) -> str:
    """Annotated CSV, as a client asks for it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    for number, table in enumerate(tables):
        columns = list(dict.fromkeys(name for row in table.rows for name in row))
        # Of a column, whichever row has a value says the type.
        samples = {name: next(row[name] for row in table.rows if row.get(name) is not None) for name in columns}
        kinds = ["dateTime:RFC3339" if name == "_time" else _KINDS[type(samples[name])][1] for name in columns]
        writer.writerow(["#datatype", "string", "long", *kinds])
        writer.writerow(["#group", "false", "false", *(str(name in table.key).lower() for name in columns)])
        writer.writerow(["#default", "_result", "", *("" for _ in columns)])
        writer.writerow(["", "result", "table", *columns])
        for row in table.rows:
            writer.writerow(["", "", number, *(_cell(name, row.get(name)) for name in columns)])
        writer.writerow([])
    return out.getvalue()


def _cell(name: str, value: Any) -> str:
    if name == "_time":
        return rfc3339(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def parse_line(line: str) -> Written:
    """A line of line protocol, as the documentation of InfluxDB has it."""
    # Quotes mean something in the fields alone, and the time has no space in it.
    line, _, time = line.rpartition(" ")
    head = _split(line, " ")[0]
    fields = line[len(head) + 1 :]
    measurement, *tags = _split(head, ",")
    pairs = [_split(tag, "=") for tag in tags]
    values: dict[str, float | int | bool | str] = {}
    for name, text in (_split(one, "=", quotes=True) for one in _split(fields, ",", quotes=True)):
        if text.startswith('"'):
            values[_plain(name)] = re.sub(r"\\([\\\"])", r"\1", text[1:-1])
        elif text in ("true", "false"):
            values[_plain(name)] = text == "true"
        else:
            values[_plain(name)] = int(text[:-1]) if text.endswith("i") else float(text)
    return Written(_plain(measurement), tuple((_plain(n), _plain(v)) for n, v in pairs), int(time), values)


def _split(text: str, at: str, *, quotes: bool = False) -> list[str]:
    """At a sign that is not escaped, and with `quotes` not in any."""
    quoted = r'"(?:[^"\\]|\\.)*"|' if quotes else ""
    return re.findall(rf"((?:{quoted}\\.|[^{at}\\]|\\)+)", text)


def _plain(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)


@contextmanager
def influx2(**settings: Any) -> Iterator[Influx2]:
    fake = Influx2(**settings)

    def respond(handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        where = urlsplit(handler.path)
        if where.path == "/ping":
            return 204, {"X-Influxdb-Version": fake.version, "X-Influxdb-Build": "OSS"}, b""
        query = {name: values[0] for name, values in parse_qs(where.query).items()}
        token = (handler.headers["Authorization"] or "").removeprefix("Token ")
        if handler.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        status, found = fake.answer(handler.command, where.path, query, token, body)
        if isinstance(found, str):
            return status, {"Content-Type": "text/csv; charset=utf-8"}, found.encode()
        return status, {"Content-Type": "application/json"}, b"" if found is None else json.dumps(found).encode()

    with _serving(respond) as fake.url:
        yield fake


@contextmanager
def influx18(direct_url: str) -> Iterator[str]:
    """InfluxDB 1.8: what 1.6 is, and `/api/v2/write`."""
    pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))

    def respond(handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        where = urlsplit(handler.path)
        target = f"{direct_url}{handler.path}"
        if where.path == "/api/v2/write":
            query = {name: values[0] for name, values in parse_qs(where.query).items()}
            target = f"{direct_url}/write?" + urlencode({"db": query["bucket"], "precision": query["precision"]})
        kept = {name: handler.headers[name] for name in ("Content-Encoding", "Content-Type") if name in handler.headers}
        answer = pool.request(handler.command, target, body=body or None, headers=kept)
        headers = {name: value for name, value in answer.headers.items() if name.startswith(("X-", "Content-Type"))}
        return answer.status, headers, answer.data

    with _serving(respond) as url:
        yield url


@contextmanager
def _serving(respond: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            status, headers, answer = respond(self, body)
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PATCH = do_DELETE = _respond

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="influx-api")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
