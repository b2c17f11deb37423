"""Connections of operators, by hand: what is no request, and clients that misbehave."""

from __future__ import annotations

import json
import os
import socket
from contextlib import AsyncExitStack

import h11
import pytest
import trio
import trio.testing

from muxproxy.supervisor.admin import connections as admin
from muxproxy.supervisor.admin.connections import Peer, Reply, Request
from muxproxy.supervisor.log import Log


class FakePages:
    """`/large` has ten million bytes, `/bug` is one; others tell what was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.delay = 0.0
        self.done = 0

    async def answer(self, request: Request) -> Reply:
        self.asked.append(request)
        await trio.sleep(self.delay)
        self.done += 1
        if request.target == "/bug":
            raise KeyError("workers")
        size = 10_000_000 if request.target == "/large" else 2
        return Reply(200, "text/plain", b"k" * size)


def refuse(status: int, detail: str) -> Reply:
    return Reply(status, "text/plain", detail.encode())


@pytest.fixture
def pages():
    return FakePages()


@pytest.fixture
def lines():
    return []


@pytest.fixture
async def path(pages, lines, tmp_path):
    path = str(tmp_path / "admin.sock")
    log = Log(lambda level, line: lines.append(f"{level} {line}"))
    with trio.socket.socket(socket.AF_UNIX) as sock:
        await sock.bind(path)
        sock.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admin.serve, sock, pages.answer, refuse, log)
            yield path
            nursery.cancel_scope.cancel()


async def read_all(stream: trio.SocketStream) -> bytes:
    data = b""
    with trio.fail_after(60):
        try:
            async for chunk in stream:
                data += chunk
        except trio.BrokenResourceError:
            pass  # what we sent beyond a request was not read
    return data


async def exchange(path: str, request: bytes) -> bytes:
    async with await trio.open_unix_socket(path) as stream:
        try:
            await stream.send_all(request)
        except trio.BrokenResourceError:
            pass  # it has hung up, and said why before
        return await read_all(stream)


def parse(raw: bytes, method: str = "GET") -> tuple[h11.Response, bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "localhost")]))
    client.receive_data(raw)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        body += bytes(event.data)
    return response, body


async def get(path: str, target: str, method: str = "GET") -> tuple[h11.Response, bytes]:
    raw = await exchange(path, f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return parse(raw, method)


async def test_what_is_asked_is_taken_apart(path, pages):
    raw = await exchange(
        path,
        b"PATCH /x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    )
    response, body = parse(raw)
    assert (response.status_code, body) == (200, b"kk")
    me = Peer(os.geteuid(), os.getpid())
    assert pages.asked == [Request("PATCH", "/x?y=1", "application/json", b"{}", me, "a")]


async def test_over_tcp_nobody_knows_who_asks(pages):
    with trio.socket.socket(socket.AF_INET) as sock:
        await sock.bind(("127.0.0.1", 0))
        sock.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admin.serve, sock, pages.answer, refuse, Log(lambda *_: None))
            async with await trio.open_tcp_stream(*sock.getsockname()) as stream:
                await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
                assert parse(await read_all(stream))[0].status_code == 200
            nursery.cancel_scope.cancel()
    assert pages.asked == [Request("GET", "/")]


async def test_head_has_the_length_and_no_body(path):
    response, body = await get(path, "/healthz", method="HEAD")
    assert dict(response.headers)[b"content-length"] == b"2"
    assert body == b""


async def test_who_asks_whether_to_send_a_body_is_told_to(path, pages):
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await stream.send_all(b"{}")
        assert parse(await read_all(stream))[0].status_code == 200
    assert pages.asked[0].body == b"{}"


LARGE = b"x" * 2 * admin.MAX_BODY
CHUNKS = b"%x\r\n%s\r\n" % (len(LARGE), LARGE)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /status HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01 this is no HTTP\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2 * admin.MAX_HEAD, 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE, 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + 100 * CHUNKS, 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
    ],
)
async def test_what_is_no_request_gets_its_status_and_nothing_is_done(path, pages, request_bytes, status):
    response, _ = parse(await exchange(path, request_bytes))
    assert response.status_code == status
    assert pages.asked == []


async def test_a_page_that_fails_is_told_and_logged_and_the_next_is_answered(path, lines):
    response, body = await get(path, "/bug")
    assert response.status_code == 500
    assert b"KeyError" in body
    assert lines == [f"error admin page failed page=/bug error={json.dumps(repr(KeyError('workers')))}"]
    response, _ = await get(path, "/status")
    assert response.status_code == 200


async def test_a_client_that_says_nothing_is_hung_up_on(path, autojump_clock):
    async with await trio.open_unix_socket(path) as stream:
        began = trio.current_time()
        assert await read_all(stream) == b""
        assert trio.current_time() - began == pytest.approx(admin.TIMEOUT)


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE_PAGE = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("said", [b"", HEALTH[:9], LARGE_PAGE], ids=["nothing", "half", "takes-nothing"])
async def test_those_who_hang_do_not_delay_the_next_one_the_oldest_is_cut(path, autojump_clock, said):
    began = trio.current_time()
    async with AsyncExitStack() as stack:
        hung = []
        for _ in range(admin.MAX_CONNECTIONS):
            hung.append(await stack.enter_async_context(await trio.open_unix_socket(path)))
            await hung[-1].send_all(said)
        for _ in range(3):
            response, _ = await get(path, "/healthz")
            assert response.status_code == 200
        assert not await read_all(hung[0]) or said == LARGE_PAGE, "cut"
        if said != LARGE_PAGE:
            await hung[-1].send_all(HEALTH[len(said) :])
            response, _ = parse(await read_all(hung[-1]))
            assert response.status_code == 200
        assert trio.current_time() - began < 1.0


async def test_who_is_being_answered_is_not_cut_for_others(path, pages, autojump_clock):
    """All places are taken by those who wait for a worker that hangs: a second, and all are answered."""
    pages.delay = 1.0
    began = trio.current_time()
    answered = []

    async def ask(target: str) -> None:
        response, _ = await get(path, target)
        answered.append(response.status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(admin.MAX_CONNECTIONS + 4):
            nursery.start_soon(ask, "/status")
    assert answered == [200] * (admin.MAX_CONNECTIONS + 4)
    assert trio.current_time() - began == pytest.approx(2.0)


async def test_what_has_begun_is_finished_however_long_it_takes_and_though_who_asked_has_left(
    path, pages, autojump_clock
):
    pages.delay = 3 * admin.TIMEOUT
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(b"POST /reload HTTP/1.1\r\nHost: a\r\n\r\n")
        assert parse(await read_all(stream))[0].status_code == 200
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(b"POST /reload HTTP/1.1\r\nHost: a\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        assert len(pages.asked) == 2
    await trio.sleep(4 * admin.TIMEOUT)
    assert pages.done == 2


async def test_a_body_that_does_not_come_is_no_request(path, pages, autojump_clock):
    began = trio.current_time()
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(b"POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
        assert await read_all(stream) == b""
    assert trio.current_time() - began == pytest.approx(admin.TIMEOUT)
    assert pages.asked == []


async def test_a_client_that_leaves_in_the_middle_disturbs_nobody(path):
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(b"GET /status HTTP/1.1\r\nHo")
    response, _ = await get(path, "/status")
    assert response.status_code == 200
