"""Replies of HTTP servers that are out of the common, each through the real program to a client's socket."""

from __future__ import annotations

import socket

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
