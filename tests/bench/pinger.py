"""`python -m tests.bench.pinger http|redis ADDRESS CONNECTIONS SECONDS`: the latency suites' load.

A closed loop that clocks every request by itself: a connection asks, waits for the whole reply, asks
again. One waits in recv(), as an app's thread does; several wait in epoll. wrk is not asked: before
it tells its percentiles it adds requests that it has not made (its "correction" for stalls), and one stall of
50 ms in a second at one connection makes its p99 40 ms. Figures are one line of JSON.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

PATIENCE = 10.0  # seconds for one reply
PARTS = 1000.0  # nanoseconds of a microsecond


@dataclass(frozen=True)
class Wire:
    """The same request every time, and what its reply ends with; it has the same length every time."""

    request: bytes
    ending: bytes


WIRES = {
    "http": Wire(
        b"GET / HTTP/1.1\r\nHost: bench.example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n",
        b"static body\n",
    ),
    "redis": Wire(b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000007\r\n", b"0007\r\n"),
}


def connect(address: str) -> socket.socket:
    if address.startswith("unix:"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(address.removeprefix("unix:"))
        return client
    host, _, port = address.rpartition(":")
    client = socket.create_connection((host, int(port)), PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def first_reply(client: socket.socket, wire: Wire) -> int:
    """The length that all replies have to have."""
    client.sendall(wire.request)
    reply = b""
    while not reply.endswith(wire.ending):
        data = client.recv(65536)
        if not data:
            raise SystemExit(f"the connection was closed after {reply[:200]!r}")
        reply += data
    return len(reply)


def whole(client: socket.socket, reply: bytes, length: int) -> bytes:
    """The rest of a reply that has come in parts."""
    while reply and len(reply) < length:
        data = client.recv(65536)
        if not data:
            raise SystemExit(f"the connection was closed after {reply[:200]!r}")
        reply += data
    return reply


class Score:
    """How long each request took, in nanoseconds, and how many replies were not what was asked for."""

    def __init__(self, wire: Wire, length: int) -> None:
        self.wire = wire
        self.length = length
        self.took: list[int] = []
        self.errors = 0

    def judge(self, reply: bytes) -> None:
        if not reply:
            raise SystemExit("a connection was closed")
        if len(reply) != self.length or not reply.endswith(self.wire.ending):
            self.errors += 1


def ask_alone(client: socket.socket, score: Score, until: int) -> None:
    clock, request, length, took = time.perf_counter_ns, score.wire.request, score.length, score.took
    now = 0
    while now < until:
        began = clock()
        client.send(request)
        reply = client.recv(65536)
        now = clock()
        took.append(now - began)
        score.judge(whole(client, reply, length))


def ask_together(clients: list[socket.socket], waiting: select.epoll, score: Score, until: int) -> None:
    """Replies are taken in the order in which the kernel tells of them, and each is answered by the next
    request at once: what the others wait meanwhile is theirs, with a proxy as without."""
    clock, request, length, took = time.perf_counter_ns, score.wire.request, score.length, score.took
    by_descriptor = {client.fileno(): client for client in clients}
    began = {}
    for descriptor, client in by_descriptor.items():
        waiting.register(descriptor, select.EPOLLIN)
        began[descriptor] = clock()
        client.send(request)
    now = 0
    while now < until:
        ready = waiting.poll(PATIENCE)
        if not ready:
            raise SystemExit(f"no reply within {PATIENCE:.0f} s")
        for descriptor, _ in ready:
            client = by_descriptor[descriptor]
            reply = client.recv(65536)
            now = clock()
            took.append(now - began[descriptor])
            score.judge(whole(client, reply, length))
            began[descriptor] = clock()
            client.send(request)


def run(wire: Wire, address: str, connections: int, seconds: float) -> dict[str, float]:
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(address)) for _ in range(connections)]
        lengths = {first_reply(client, wire) for client in clients}
        if len(lengths) != 1:
            raise SystemExit(f"replies of different lengths: {sorted(lengths)}")
        score = Score(wire, lengths.pop())
        began = time.perf_counter_ns()
        until = began + int(seconds * 1e9)
        if connections == 1:
            ask_alone(clients[0], score, until)
        else:
            ask_together(clients, stack.enter_context(select.epoll()), score, until)
        return figures(score.took, score.errors, time.perf_counter_ns() - began)


def figures(took: list[int], errors: int, passed: int) -> dict[str, float]:
    ordered = sorted(took)
    return {
        "done": len(ordered),
        "microseconds": passed / PARTS,
        "p50": ordered[len(ordered) // 2] / PARTS,
        "p99": ordered[len(ordered) * 99 // 100] / PARTS,
        "errors": errors,
    }


if __name__ == "__main__":
    gc.disable()  # a collection amid a request would be taken for the proxy's
    protocol, address, connections, seconds = sys.argv[1:]
    print(json.dumps(run(WIRES[protocol], address, int(connections), float(seconds))))
