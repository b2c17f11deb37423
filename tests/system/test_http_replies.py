"""Replies of HTTP servers that are out of the common, each through the real program to a client's socket."""

from __future__ import annotations

import http.client
import socket
import time

import pytest

from tests.system.proxy import Proxy
from tests.system.scripted import Scripted


def reply(cookie: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nSet-Cookie: %b\r\nContent-Length: %d\r\n\r\n%b" % (cookie, len(body), body)


VICTIM = reply(b"sid=VICTIM" + b"v" * 2100, b"v" * 4000)
ANOTHER = reply(b"sid=ANOTHER" + b"a" * 2100, b"")
ANOTHER = reply(b"sid=ANOTHER" + b"a" * 2100, b"a" * (4003 - len(ANOTHER) - 3))


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def test_nobody_reads_another_clients_head() -> None:
    """P2. Heads above what is searched for their end were all remembered as the same one."""
    assert len(ANOTHER) == 4000 + 3  # what stood for a head, `HTT`, and the body that goes with it

    def answer(sock: socket.socket, head: bytes) -> None:
        sock.sendall(VICTIM if b"/victim" in head else ANOTHER)

    with Scripted(answer) as origin, Proxy(origin.address, upstream={"max_connections": 1}) as proxy:
        for path, wanted in ((b"/victim", VICTIM), (b"/another", ANOTHER), (b"/victim", VICTIM)):
            with socket.create_connection((proxy.host, proxy.port), 10) as client:
                client.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                assert exactly(client, len(wanted)) == wanted


SENT = 3_000_000
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_all_that_came_of_a_reply_that_its_server_cut_reaches_the_client(seconds: float) -> None:
    """Who reads slowly gets it all, too; then FIN, for the length tells that there should be more."""

    def answer(sock: socket.socket, head: bytes) -> bool:
        sock.sendall(CUT + b"x" * SENT)
        return False

    with Scripted(answer) as origin, Proxy(origin.address) as proxy:
        with socket.create_connection((proxy.host, proxy.port), 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            got = 0
            while data := client.recv(1 << 18):
                got += len(data)
                time.sleep(seconds)
        assert got == len(CUT) + SENT
        assert proxy.outcomes() == {"server_closed": 1}


def test_an_old_client_gets_all_of_a_reply_that_was_cut_and_then_an_error() -> None:
    def answer(sock: socket.socket, head: bytes) -> bool:
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2dc6c0\r\n" + b"x" * SENT)
        return False

    with Scripted(answer) as origin, Proxy(origin.address) as proxy:
        with socket.create_connection((proxy.host, proxy.port), 10) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data, was_reset = b"", False
            try:
                while more := client.recv(1 << 18):
                    data += more
            except ConnectionResetError:
                was_reset = True
        assert was_reset
        assert data.endswith(b"\r\n\r\n" + b"x" * SENT)


def test_a_silent_websocket_ends_after_a_timeout_of_its_own() -> None:
    def answer(sock: socket.socket, head: bytes) -> None:
        sock.sendall(b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")

    tables = {"clients": {"idle_timeout": "500ms"}, "http": {"tunnel_timeout": "1s"}}
    with Scripted(answer) as origin, Proxy(origin.address, **tables) as proxy:
        with socket.create_connection((proxy.host, proxy.port), 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            began = time.monotonic()
            assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
            assert client.recv(1000) == b""
            assert time.monotonic() - began >= 1.0
        assert proxy.outcomes() == {"tunnel_timeout": 1}


@pytest.mark.parametrize("fields", [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n"])
@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_nobody_waits_for_a_body_that_a_status_rules_out(status: bytes, fields: bytes) -> None:
    def answer(sock: socket.socket, head: bytes) -> None:
        sock.sendall(b"HTTP/1.1 %b\r\n%bA: b\r\n\r\n" % (status, fields))

    with Scripted(answer) as origin, Proxy(origin.address) as proxy:
        connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=5)
        for _ in range(2):
            connection.request("GET", "/")
            reply = connection.getresponse()
            assert (reply.status, reply.read(), reply.headers["A"]) == (int(status[:3]), b"", "b")
        connection.close()
