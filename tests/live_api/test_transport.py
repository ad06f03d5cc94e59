"""What HubProtocol and TaskLine promise, and the names of uvicorn that the former rests on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.sync.client import ClientConnection, connect

from live_api import transport
from live_api.frame import Frame
from live_api.transport import EXTENSION, SEND_BUFFER_BYTES, HubProtocol, Line, RequestProtocol, TaskLine
from tests.patience import Stopwatch
from tests.ports import free_port
from tests.stack import eventually


class Endpoint:
    """An ASGI application that hands its lines to the test, under a real server in a thread."""

    def __init__(self, **options: Any) -> None:
        self.lines: list[HubProtocol] = []
        self.received: list[Any] = []
        self.ended: list[Any] = []
        self.port = free_port()
        config = uvicorn.Config(
            self._app,
            host="127.0.0.1",
            port=self.port,
            log_config=None,
            lifespan="off",
            interface="asgi3",
            **{"ws": HubProtocol, "http": RequestProtocol, "ws_ping_interval": None, "ws_per_message_deflate": False}
            | options,
        )
        config.timeout_graceful_shutdown = 1
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        eventually(lambda: self._server.started)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        self.loop = asyncio.get_running_loop()
        self.lines.append(scope["extensions"].get(EXTENSION))
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.ended.append(message)
                return
            self.received.append(message)

    def do(self, act: Any) -> Any:
        """Run in the server's loop, as the hub does."""

        async def run() -> Any:
            return act()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(5)

    @contextlib.contextmanager
    def client(self) -> Iterator[tuple[ClientConnection, HubProtocol]]:
        before = len(self.lines)
        with connect(f"ws://127.0.0.1:{self.port}/") as websocket:
            eventually(lambda: len(self.lines) > before)
            yield websocket, self.lines[-1]

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.stop()


class Ear:
    """Listens to a line."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def stalled(self) -> None:
        self.heard.append("stalled")

    def drained(self) -> None:
        self.heard.append("drained")


@given(st.integers(0, 200) | st.sampled_from([125, 126, 65_535, 65_536, 70_000]))
def test_a_frame_is_what_websockets_would_make_of_it(size: int) -> None:
    body = b"x" * size
    expected = WebSocketFrame(Opcode.TEXT, body).serialize(mask=False)
    assert Frame(body).websocket == expected


def test_an_event_has_an_id_where_there_is_one_to_resume_from() -> None:
    assert Frame(b'{"op":"ok"}').event == b'data: {"op":"ok"}\n\n'
    assert Frame(b"{}", "a1:5").event == b"id: a1:5\ndata: {}\n\n"
    assert Frame(b"{}", retry_ms=700).event == b"retry: 700\ndata: {}\n\n"


def test_the_server_is_the_one_that_this_was_written_against() -> None:
    assert uvicorn.__version__ == "0.54.0", "read live_api/transport.py before another version is allowed"


def test_a_line_is_in_the_scope_and_is_what_the_hub_expects(endpoint: Endpoint) -> None:
    with endpoint.client() as (_, line):
        assert isinstance(line, HubProtocol)
        assert isinstance(line, Line)
        for name in ("conn", "transport", "queue", "close_sent", "close_timer", "disconnected", "loop"):
            assert hasattr(line, name), name
        held = line.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        # Linux doubles what it is asked for.
        assert held <= 2 * SEND_BUFFER_BYTES


def test_frames_arrive_whole_in_order_and_between_what_asgi_sends(endpoint: Endpoint) -> None:
    with endpoint.client() as (websocket, line):
        bodies = [json.dumps({"n": n, "x": "y" * size}).encode() for n, size in enumerate((0, 100, 200, 70_000, 5))]
        endpoint.do(lambda: [line.write(Frame(body)) for body in bodies[:2]])
        asyncio.run_coroutine_threadsafe(line.send({"type": "websocket.send", "text": "between"}), endpoint.loop)
        time.sleep(0.1)
        received = [websocket.recv(timeout=20) for _ in range(3)]
        endpoint.do(lambda: [line.write(Frame(body)) for body in bodies[2:]])
        received += [websocket.recv(timeout=20) for _ in range(3)]
        assert received == [*(body.decode() for body in bodies[:2]), "between", *(b.decode() for b in bodies[2:])]
        # And the client's own messages still come through.
        websocket.send("hello")
        eventually(lambda: endpoint.received == [{"type": "websocket.receive", "text": "hello"}])


def test_a_client_that_does_not_read_pauses_its_line_and_nobody_else(endpoint: Endpoint) -> None:
    frame = Frame(b"x" * 10_000)
    with _Raw(endpoint.port) as silent, endpoint.client() as (websocket, healthy):
        eventually(lambda: len(endpoint.lines) == 2)
        stalled = endpoint.lines[0]
        ear = Ear()
        stalled.listener = ear

        def fill() -> int:
            written = 0
            while not stalled.paused and written < 10_000:
                stalled.write(frame)
                written += 1
            return written

        written = endpoint.do(fill)
        # It shows after what the buffers on the way take, and not after megabytes.
        assert written * len(frame.websocket) < 1_000_000
        assert ear.heard == ["stalled"]
        watch = Stopwatch()
        endpoint.do(lambda: healthy.write(Frame(b"quick")))
        assert websocket.recv(timeout=20) == "quick"
        assert watch.worked_s < 0.5
        # When it reads again, it is told, and what it reads are all the frames there were.
        silent.read(written * len(frame.websocket))
        eventually(lambda: ear.heard == ["stalled", "drained"])
        assert not stalled.paused


def test_writing_to_a_line_whose_client_has_gone_harms_nobody(endpoint: Endpoint) -> None:
    with endpoint.client() as (websocket, line):
        websocket.socket.shutdown(socket.SHUT_RDWR)
        eventually(lambda: line.transport.is_closing())
        endpoint.do(lambda: [(line.write(Frame(b"x" * 10_000)), line.ping()) for _ in range(20)])
        endpoint.do(line.abort)
        endpoint.do(lambda: (line.write(Frame(b"x")), line.ping(), line.close(1000)))
    # And before anybody has noticed that it has gone.
    with endpoint.client() as (websocket, line):

        def cut_and_write() -> None:
            line.transport.abort()
            for _ in range(20):
                line.write(Frame(b"x" * 10_000))
                line.ping()

        endpoint.do(cut_and_write)


def test_abort_ends_a_line_that_nothing_else_would(endpoint: Endpoint) -> None:
    with _Raw(endpoint.port) as silent:
        eventually(lambda: endpoint.lines)
        line = endpoint.lines[0]
        endpoint.do(lambda: [line.write(Frame(b"x" * 100_000)) for _ in range(30)])
        assert line.paused
        endpoint.do(line.abort)
        eventually(lambda: endpoint.ended, within_s=3)
        with pytest.raises(ConnectionResetError):
            silent.read(1 << 30)


def test_close_says_why_and_ends(endpoint: Endpoint) -> None:
    with endpoint.client() as (websocket, line):
        endpoint.do(lambda: line.write(Frame(b"last words")))
        endpoint.do(lambda: line.close(4001, "full"))
        assert websocket.recv(timeout=20) == "last words"
        with pytest.raises(ConnectionClosed) as caught:
            websocket.recv(timeout=20)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "full")
        eventually(lambda: endpoint.ended)
        assert endpoint.ended[0]["code"] == 4001
        # Twice is as good as once, and so is afterwards.
        endpoint.do(lambda: line.close(1000))


def test_close_does_not_wait_for_a_client_that_says_nothing(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_CLOSE_WITHIN_S", 0.2)
    with _Raw(endpoint.port) as silent:
        eventually(lambda: endpoint.lines)
        line = endpoint.lines[0]
        endpoint.do(lambda: [line.write(Frame(b"x" * 100_000)) for _ in range(30)])
        endpoint.do(lambda: line.close(1012))
        eventually(lambda: line.transport.is_closing() and line not in line.connections, within_s=3)
        with pytest.raises(ConnectionResetError):
            silent.read(1 << 30)


def test_pings_are_answered_and_the_answer_is_a_sign_of_life(endpoint: Endpoint) -> None:
    with endpoint.client() as (_, line):
        line.heard = False
        endpoint.do(line.ping)
        eventually(lambda: line.heard, within_s=3)
        # The server's own book of pings knows nothing of it.
        assert line.pending_ping_payload is None


def test_uvicorns_own_protocol_has_no_line() -> None:
    made = Endpoint(ws="websockets-sansio", http="h11")
    try:
        with connect(f"ws://127.0.0.1:{made.port}/"):
            eventually(lambda: made.lines)
        assert made.lines == [None]
    finally:
        made.stop()


class _Raw:
    """A WebSocket client with small buffers that reads only when it is told to."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._socket.settimeout(10)
        self._socket.connect(("127.0.0.1", port))
        self._socket.sendall(
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += self._socket.recv(1)

    def read(self, size: int) -> None:
        while size > 0:
            got = len(self._socket.recv(min(size, 65_536)))
            if not got:
                raise ConnectionResetError("ended")
            size -= got

    def __enter__(self) -> _Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


# The one for any other server


@contextlib.asynccontextmanager
async def running(line: TaskLine, send: Any, end: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(line.run(send, end))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_task_line_sends_in_order_and_is_paused_while_it_does() -> None:
    async def scenario() -> None:
        sent: list[bytes] = []
        gate = asyncio.Event()
        ended: list[Any] = []

        async def send(frames: list[Frame]) -> None:
            await gate.wait()
            sent.extend(frame.body for frame in frames)

        async def end(code: int, reason: str) -> None:
            ended.append((code, reason))

        line = TaskLine("sse")
        ear = Ear()
        line.listener = ear
        assert isinstance(line, Line)
        async with running(line, send, end) as task:
            line.write(Frame(b"1"))
            line.write(Frame(b"2"))
            await asyncio.sleep(0.01)
            line.write(Frame(b"3"))
            assert line.paused
            assert ear.heard == ["stalled"]
            gate.set()
            await asyncio.sleep(0.01)
            assert sent == [b"1", b"2", b"3"]
            assert ear.heard == ["stalled", "drained"]
            assert not line.paused
            line.write(Frame(b"4"))
            line.close(1012, "bye")
            await asyncio.wait_for(task, 1)
            assert sent[-1] == b"4"
            assert ended == [(1012, "bye")]

    asyncio.run(scenario())


def test_a_task_line_that_is_cut_ends_although_nobody_reads() -> None:
    async def scenario() -> None:
        cut: list[str] = []

        async def never(_: list[Frame]) -> None:
            await asyncio.Event().wait()

        async def end(*_: object) -> None: ...

        class Connection:
            left_bytes = 0

            def abort(self) -> None:
                cut.append("connection")

        line = TaskLine("sse", Connection())  # type: ignore[arg-type]
        async with running(line, never, end) as task:
            line.write(Frame(b"1"))
            await asyncio.sleep(0.01)
            line.abort()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert cut == ["connection"]

    asyncio.run(scenario())
