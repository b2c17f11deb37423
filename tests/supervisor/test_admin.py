"""The admin socket, asked by hand: every page, every refusal, and clients that misbehave."""

from __future__ import annotations

import json
import socket
from contextlib import AsyncExitStack

import h11
import pytest
import trio
import trio.testing

from muxproxy.supervisor import admin
from muxproxy.supervisor.log import Log

REPORT = {
    "version": "0.1.0",
    "workers": [{"index": 0, "state": "ready", "restarts": 0, "answering": True}],
    "backends": {"web": {"state": "serving", "upstream_sockets": 3, "upstream_max": 8}},
}


class FakeSource:
    def __init__(self) -> None:
        self.state = "serving"
        self.told = REPORT
        self.delay = 0.0

    async def report(self) -> dict:
        await trio.sleep(self.delay)
        return self.told


@pytest.fixture
def source():
    return FakeSource()


@pytest.fixture
def lines():
    return []


@pytest.fixture
async def path(source, lines, tmp_path):
    path = str(tmp_path / "admin.sock")
    log = Log(lambda level, line: lines.append(f"{level} {line}"))
    with trio.socket.socket(socket.AF_UNIX) as sock:
        await sock.bind(path)
        sock.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admin.serve, sock, source, log)
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
        await stream.send_all(request)
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


async def test_status_is_the_report_as_json(path):
    response, body = await get(path, "/status")
    assert response.status_code == 200
    assert dict(response.headers)[b"content-type"] == b"application/json"
    assert json.loads(body) == REPORT


async def test_metrics_are_the_same_numbers_for_prometheus(path):
    response, body = await get(path, "/metrics?name=ignored")
    assert dict(response.headers)[b"content-type"].startswith(b"text/plain; version=0.0.4")
    assert b'muxproxy_upstream_sockets{backend="web"} 3\n' in body


@pytest.mark.parametrize(("state", "status"), [("starting", 503), ("serving", 200), ("draining", 503)])
async def test_healthz_says_whether_clients_may_be_sent(path, source, state, status):
    source.state = state
    response, body = await get(path, "/healthz")
    assert (response.status_code, body) == (status, f"{state}\n".encode())


async def test_head_has_the_length_and_no_body(path):
    response, body = await get(path, "/healthz", method="HEAD")
    assert dict(response.headers)[b"content-length"] == b"8"
    assert body == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /nothing HTTP/1.0\r\n\r\n", 404),
        (b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 405),
        (b"GET /status HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01 this is no HTTP\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2 * admin.MAX_HEAD, 431),
    ],
)
async def test_what_is_no_question_gets_its_status(path, request_bytes, status):
    response, _ = parse(await exchange(path, request_bytes))
    assert response.status_code == status
    assert (b"allow", b"GET, HEAD") in response.headers or status != 405


async def test_a_page_that_fails_is_told_and_logged_and_the_next_is_answered(path, source, lines):
    source.told = {"no": "backends"}
    response, body = await get(path, "/metrics")
    assert response.status_code == 500
    assert b"KeyError" in body
    assert lines == [f"error admin page failed page=/metrics error={json.dumps(repr(KeyError('workers')))}"]
    response, _ = await get(path, "/status")
    assert response.status_code == 200


async def test_a_client_that_says_nothing_is_hung_up_on(path, autojump_clock):
    async with await trio.open_unix_socket(path) as stream:
        began = trio.current_time()
        assert await read_all(stream) == b""
        assert trio.current_time() - began == pytest.approx(admin.TIMEOUT)


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
STATUS = b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("said", [b"", HEALTH[:9], STATUS], ids=["nothing", "half", "takes-nothing"])
async def test_those_who_hang_do_not_delay_the_next_one_the_oldest_is_cut(path, source, autojump_clock, said):
    source.told = REPORT | {"large": "x" * 10_000_000}  # more than a socket's buffers take
    began = trio.current_time()
    async with AsyncExitStack() as stack:
        hung = []
        for _ in range(admin.MAX_CONNECTIONS):
            hung.append(await stack.enter_async_context(await trio.open_unix_socket(path)))
            await hung[-1].send_all(said)
        for _ in range(3):
            response, _ = await get(path, "/healthz")
            assert response.status_code == 200
        assert not await read_all(hung[0]) or said == STATUS, "cut"
        if said != STATUS:
            await hung[-1].send_all(HEALTH[len(said) :])
            response, _ = parse(await read_all(hung[-1]))
            assert response.status_code == 200
        assert trio.current_time() - began < 1.0


async def test_who_is_being_answered_is_not_cut_for_others(path, source, autojump_clock):
    """All places are taken by those who wait for a worker that hangs: a second, and all are answered."""
    source.delay = 1.0
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


async def test_a_client_that_leaves_in_the_middle_disturbs_nobody(path):
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(b"GET /status HTTP/1.1\r\nHo")
    response, _ = await get(path, "/status")
    assert response.status_code == 200
