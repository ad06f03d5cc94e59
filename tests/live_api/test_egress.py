from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Coroutine, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from live_api.delivery.egress import MOST_READ_BYTES, Answer, Egress, EgressRefused
from tests.patience import Stopwatch
from tests.receiver import Receiver, Reply, receiving

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def post(url: str, **options: Any) -> Answer:
    async def run() -> Answer:
        egress = Egress(**options)
        try:
            return await egress.post(url, {"x-own": "1"}, b'{"a": 1}')
        finally:
            await egress.aclose()

    return asyncio.run(run())


def resolving(*answers: Sequence[str]) -> Callable[[str, int], Coroutine[Any, Any, Sequence[str]]]:
    """A name server that says another thing each time it is asked, and then the last one for ever."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def test_an_endpoint_is_told_under_its_name_over_the_address_that_was_looked_at() -> None:
    with receiving(Receiver(lambda _: Reply(202, body=b"taken"), secret=None)) as receiver:
        answer = post(f"http://ops.example:{receiver.port}/x?y=1", allowed=LOOPBACK, resolver=resolving(["127.0.0.1"]))
    assert (answer.status, answer.body, answer.delivered) == (202, b"taken", True)
    [request] = receiver.requests
    assert request.content == b'{"a": 1}'
    assert request.headers["host"] == f"ops.example:{receiver.port}"
    assert request.headers["x-own"] == "1"


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::]",
        "10.0.0.1",
    ],
)
def test_nothing_is_sent_to_an_address_that_is_not_public_however_it_is_spelled(host: str) -> None:
    with receiving(Receiver(secret=None)) as receiver, pytest.raises(EgressRefused, match="the host's address"):
        post(f"http://{host}:{receiver.port}/")
    assert receiver.requests == []


def test_nothing_is_sent_to_a_name_one_of_whose_addresses_is_not_public() -> None:
    with pytest.raises(EgressRefused, match=r"169\.254\.169\.254 is link-local"):
        post("https://ops.example/", resolver=resolving(["1.1.1.1", "169.254.169.254"]))
    with pytest.raises(EgressRefused, match="loopback"):
        post("https://ops.example/", resolver=resolving(["::1"]))


def test_a_name_that_is_bound_anew_between_the_look_and_the_connection_gains_nothing() -> None:
    # Public when it is looked at, private from then on: whoever asks twice connects to the second answer.
    asked = 0

    async def rebinding(host: str, port: int) -> Sequence[str]:
        nonlocal asked
        asked += 1
        return ["192.0.2.1"] if asked == 1 else ["127.0.0.1"]

    documentation = (ipaddress.ip_network("192.0.2.0/24"),)
    with receiving(Receiver(secret=None)) as receiver:
        # Stands for a public address, as it leads nowhere; allowed so that it passes the look.
        with pytest.raises((httpcore2.ConnectError, httpcore2.ConnectTimeout, TimeoutError)):
            post(f"http://ops.example:{receiver.port}/", allowed=documentation, resolver=rebinding, timeout_s=0.5)
        assert asked == 1
        assert receiver.requests == []
        # A second connection looks again.
        with pytest.raises(EgressRefused, match="loopback"):
            post(f"http://ops.example:{receiver.port}/", allowed=documentation, resolver=rebinding, timeout_s=0.5)
    assert receiver.requests == []


def test_a_redirect_is_not_followed() -> None:
    with receiving(Receiver(secret=None)) as inner:
        away = Reply(307, (("location", inner.url),))
        with receiving(Receiver(lambda _: away, secret=None)) as receiver:
            answer = post(receiver.url, allowed=LOOPBACK)
    assert (answer.status, answer.delivered) == (307, False)
    assert inner.requests == []


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(Receiver(secret=None)) as proxy, receiving(Receiver(secret=None)) as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert post(receiver.url, allowed=LOOPBACK).status == 200
    assert proxy.requests == []
    assert len(receiver.requests) == 1


def test_an_endpoint_that_hangs_is_left_and_one_that_resets_is_an_error() -> None:
    with receiving(Receiver(lambda _: Reply(after_s=10), secret=None)) as receiver:
        watch = Stopwatch()
        with pytest.raises(TimeoutError):
            post(receiver.url, allowed=LOOPBACK, timeout_s=0.3)
        assert watch.worked_s < 2
    with (
        receiving(Receiver(lambda _: Reply(reset=True), secret=None)) as receiver,
        pytest.raises((httpcore2.ReadError, httpcore2.RemoteProtocolError)),
    ):
        post(receiver.url, allowed=LOOPBACK)


def test_of_an_endless_answer_little_is_read_and_its_status_counts() -> None:
    written = 0

    class Endless(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal written
            self.send_response(200)
            self.end_headers()
            try:
                while written < 100 << 20:
                    written += self.wfile.write(b"x" * 65_536)
            except OSError:
                pass

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Endless)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    answer = post(f"http://127.0.0.1:{server.server_address[1]}/", allowed=LOOPBACK)
    thread.join()
    server.server_close()
    assert answer.delivered
    assert len(answer.body) == 2_048
    assert written < 16 * MOST_READ_BYTES + (16 << 20)


def test_tls_goes_by_the_name_though_the_connection_goes_by_the_address(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=ops.example", "-addext", "subjectAltName=DNS:ops.example"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = [*make, "-keyout", str(key), "-out", str(certificate), "-days", "2", *subject]
    subprocess.run(command, check=True, capture_output=True)
    seen: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _, name, __: seen.append(name)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(HTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    port = server.server_address[1]
    trusting = ssl.create_default_context(cafile=str(certificate))
    options = {"allowed": LOOPBACK, "resolver": resolving(["127.0.0.1"]), "tls": trusting}
    try:
        assert post(f"https://ops.example:{port}/", **options).status == 204
        with pytest.raises(httpcore2.ConnectError, match=r"(?i)certificate"):
            post(f"https://other.example:{port}/", **options)
        with pytest.raises(httpcore2.ConnectError, match=r"(?i)certificate"):
            post(f"https://ops.example:{port}/", **options | {"tls": None})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert seen[0] == "ops.example"


def test_a_name_that_is_not_known_is_a_connection_error() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    with pytest.raises(httpcore2.ConnectError, match="not known"):
        post("https://ops.example/", resolver=unknown)


def test_what_follows_a_semicolon_belongs_to_the_path() -> None:
    lines: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                lines.append(connection.recv(65_536).partition(b"\r\n")[0])
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        post(f"http://127.0.0.1:{server.getsockname()[1]}/a;b=c/d;e=f?x=1#y", allowed=LOOPBACK)
        thread.join()
    assert lines == [b"POST /a;b=c/d;e=f?x=1 HTTP/1.1"]


def test_a_name_server_that_is_silent_holds_up_no_other_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    silent, known = threading.Event(), socket.getaddrinfo

    def look(host: str, *rest: Any, **options: Any) -> Any:
        asked.append(host)
        if host != "127.0.0.1":
            silent.wait(20)
        return known("127.0.0.1", *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look)

    async def run(receiver: Receiver) -> None:
        hanging, well = [Egress(allowed=LOOPBACK, timeout_s=0.5, connections=64) for _ in range(2)]
        try:
            posts = [hanging.post(f"http://silent.example:{receiver.port}/", {}, b"{}") for _ in range(64)]
            failing = asyncio.gather(*posts, return_exceptions=True)
            await asyncio.sleep(0.1)
            assert (await well.post(receiver.url, {}, b"{}")).delivered
            assert {type(error) for error in await failing} == {TimeoutError}
        finally:
            await hanging.aclose()
            await well.aclose()

    watch = Stopwatch()
    with receiving(Receiver(secret=None)) as receiver:
        asyncio.run(run(receiver))
    silent.set()
    # Nor does it hold up the end; and what hangs already was not asked again.
    assert watch.worked_s < 5
    assert asked.count("silent.example") == 1


def test_an_address_that_swallows_everything_leaves_time_for_the_next() -> None:
    class Here(HTTPServer):
        def __init__(self) -> None:
            super().__init__(("127.0.0.1", 0), BaseHTTPRequestHandler)

    # Two addresses of one name share a port. A queue of connections that nobody accepts is soon full, and then the
    # kernel lets further ones hang.
    with Here() as server, socket.create_server(("127.0.0.2", server.server_port), backlog=0):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        crowd = [socket.socket() for _ in range(4)]
        try:
            for one in crowd:
                one.setblocking(False)
                one.connect_ex(("127.0.0.2", server.server_port))
            url = f"http://ops.example:{server.server_port}/"
            answer = post(url, allowed=LOOPBACK, resolver=resolving(["127.0.0.2", "127.0.0.1"]), timeout_s=2.0)
        finally:
            for one in crowd:
                one.close()
            server.shutdown()
            thread.join()
    assert answer.status == 501
