"""The clients of one process: a load generator on epoll and plain non-blocking sockets.

Every request carries a token of its own in the query and in a header; tokens vary in length, so that a
reply that is shifted by one cannot pass for the right one. `python -m tests.system.clients` takes a `Plan`
as its orders, says it is ready, starts at the next line and ends when the plan is done or its standard
input is closed.

    START -> CONNECTING -> SENT -> (ENDING ->) START again
                           ENDING: the reply is in, the server must close now, because the request asked for
                           it
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
import time
from collections import deque
from typing import Any

from tests.system.load import CLOSED, CUT, OUTCOMES, REFUSED, RIGHT, TIMEOUT, UNCONNECTED, WRONG, Plan
from tests.system.process import raise_descriptor_limit, say, take_orders

IDLE, CONNECTING, SENT, ENDING = range(4)
_CODES = {name: code for code, name in enumerate(OUTCOMES)}
_RESET = struct.pack("ii", 1, 0)  # struct linger
_TURN = 0.1  # seconds: how late a client's patience may end


class Client:
    """One client: its connection, and the request that is under way on it."""

    __slots__ = (
        "began",
        "expected",
        "number",
        "received",
        "request",
        "server_closes",
        "sock",
        "state",
        "status",
    )

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.state = IDLE
        self.number = -1
        self.began = 0.0
        self.request = b""
        self.expected = b""
        self.server_closes = False
        self.received = b""
        self.status = 0


def whole_reply(data: bytes) -> tuple[int, bytes] | None:
    """Status and body, None while there is more to come. ValueError: no reply to what we asked for."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        if len(data) > 65536:
            raise ValueError("a head without end")
        return None
    lines = head.lower().split(b"\r\n")
    if not lines[0].startswith(b"http/1.1 ") or not lines[0][9:12].isdigit():
        raise ValueError("no status line")
    lengths = [line for line in lines if line.startswith(b"content-length:")]
    if len(lengths) != 1:
        raise ValueError("not one Content-Length")  # nothing that is asked for here is framed otherwise
    length = int(lengths[0][15:])
    if len(body) > length:
        raise ValueError("bytes after the reply")
    return (int(lines[0][9:12]), body) if len(body) == length else None


class Clients:
    """All clients of this process. `run()` is the whole loop."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.address = (plan.host, plan.port)
        self.sources = [f"127.0.1.{number + 1}" for number in range(plan.sources)]
        self.epoll = select.epoll()
        self.by_fd: dict[int, Client] = {}
        self.deadlines: deque[tuple[float, Client, int]] = deque()  # patience is constant: always in order
        self.idle: list[Client] = []  # keep-alive connections, the last used first
        self.started = 0
        self.busy = 0
        self.stopping = False
        self.records: list[tuple[float, float, int, int]] = []
        self.examples: list[str] = []
        self.late = 0.0
        self.skipped = 0

    # What to start, and when

    def run(self) -> dict[str, Any]:
        self.epoll.register(0, select.EPOLLIN)
        began = time.monotonic()
        while True:
            wait = self.open_loop(began) if self.plan.rate else self.closed_loop()
            if self.busy == 0 and self.enough:
                break
            for fd, _ in self.epoll.poll(min(wait, _TURN), 512):
                if fd == 0:
                    self.stopping = True
                    self.epoll.unregister(0)
                elif fd in self.by_fd:
                    self.on_event(self.by_fd[fd])
            self.expire(time.monotonic())
        return {
            "records": self.records,
            "examples": self.examples,
            "late": self.late,
            "skipped": self.skipped,
        }

    @property
    def enough(self) -> bool:
        return self.stopping or 0 < self.plan.requests <= self.started

    def closed_loop(self) -> float:
        while self.busy < self.plan.parallel and not self.enough:
            self.start()
        return _TURN

    def open_loop(self, began: float) -> float:
        """Start what is due; the time until the next is due."""
        while not self.enough:
            due = began + self.started / self.plan.rate
            now = time.monotonic()
            if due > now:
                return due - now
            self.late = max(self.late, now - due)
            if self.busy < self.plan.parallel:
                self.start()
            else:
                self.started += 1
                self.skipped += 1
        return _TURN

    def start(self) -> None:
        plan = self.plan
        client = self.idle.pop() if self.idle else Client()
        number = client.number = self.started
        self.started += 1
        self.busy += 1
        token = f"{plan.tag}-{number}-" + "x" * (number * 7 % 97)
        # Half of those without keep-alive ask the server to close, half close by themselves once they are
        # served.
        client.server_closes = not plan.keep_alive and number % 2 == 0
        client.request = (
            f"GET {plan.path}?token={token} HTTP/1.1\r\nHost: {plan.authority}\r\nX-Token: {token}\r\n"
            f"{'Connection: close' if client.server_closes else 'Accept: */*'}\r\n\r\n"
        ).encode()
        client.expected = f"{token} {token}\n".encode()
        client.received = b""
        client.status = 0
        client.began = time.monotonic()
        self.deadlines.append((client.began + plan.patience, client, number))
        if client.sock is None:
            self.connect(client)
        else:
            self.send(client)

    # One client

    def connect(self, client: Client) -> None:
        sock = client.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((self.sources[client.number % len(self.sources)], 0))
        code = sock.connect_ex(self.address)
        self.by_fd[sock.fileno()] = client
        self.epoll.register(sock.fileno(), select.EPOLLOUT)
        client.state = CONNECTING
        if code not in (0, errno.EINPROGRESS):
            self.lost(client, OSError(code, "connect"))

    def send(self, client: Client) -> None:
        assert client.sock is not None
        client.state = SENT
        try:
            sent = client.sock.send(client.request)
        except OSError as error:
            self.lost(client, error)
            return
        assert sent == len(client.request), "an empty socket buffer takes a small request whole"

    def on_event(self, client: Client) -> None:
        assert client.sock is not None
        if client.state == CONNECTING:
            self.epoll.modify(client.sock.fileno(), select.EPOLLIN)
            self.send(client)
            return
        try:
            data = client.sock.recv(65536)
        except OSError as error:
            self.lost(client, error)
            return
        if client.state == IDLE:
            self.idle.remove(client)
            self.close(client)
            if data:
                self.note("bytes on an idle connection", data)
        elif client.state == ENDING:
            if data:
                self.outcome(client, WRONG, b"after the reply: " + data)
            else:
                # The server has closed and does not see this reset, which spares it the TIME_WAIT: the kernel
                # walks all of them, 7 ms for 130,000, each time that it is asked for its sockets.
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.judge(client)
        elif not data:
            self.outcome(client, CUT if client.received else CLOSED)
        else:
            client.received += data
            self.on_reply(client)

    def on_reply(self, client: Client) -> None:
        try:
            reply = whole_reply(client.received)
        except ValueError as error:
            self.outcome(client, WRONG, str(error).encode() + b": " + client.received)
            return
        if reply is None:
            return
        client.status = reply[0]
        if client.server_closes:
            client.state = ENDING
        else:
            self.judge(client)

    def judge(self, client: Client) -> None:
        reply = whole_reply(client.received)
        assert reply is not None
        status, body = reply
        if status == 200:
            right = body == client.expected
            self.outcome(client, RIGHT if right else WRONG, b"" if right else client.received)
        else:
            self.outcome(
                client, REFUSED if status >= 500 else WRONG, b"" if status >= 500 else client.received
            )

    def lost(self, client: Client, error: OSError) -> None:
        if error.errno == errno.ECONNREFUSED:
            self.outcome(client, UNCONNECTED)
        elif client.state == ENDING:  # the reply is in: a reset instead of a close harms nobody
            self.judge(client)
        elif client.state == IDLE:
            self.idle.remove(client)
            self.close(client)
        else:
            self.outcome(client, CUT if client.received else CLOSED)

    def outcome(self, client: Client, outcome: str, example: bytes = b"") -> None:
        self.records.append((client.began, time.monotonic(), _CODES[outcome], client.status))
        self.busy -= 1
        client.number = -1
        if outcome == WRONG:
            self.note("wanted " + client.expected.decode(), example)
        says_close = b"connection: close" in client.received.lower()
        if self.plan.keep_alive and outcome in (RIGHT, REFUSED) and not says_close:
            client.state = IDLE
            self.idle.append(client)
        else:
            self.close(client)

    def note(self, what: str, data: bytes) -> None:
        if len(self.examples) < 5:
            self.examples.append(f"{what}, got {data[:400]!r}")

    def close(self, client: Client) -> None:
        assert client.sock is not None
        del self.by_fd[client.sock.fileno()]
        client.sock.close()
        client.sock = None

    def expire(self, now: float) -> None:
        while self.deadlines and self.deadlines[0][0] <= now:
            _, client, number = self.deadlines.popleft()
            if client.number == number:
                self.outcome(client, TIMEOUT)


def main() -> None:
    plan = Plan(**take_orders())
    raise_descriptor_limit()
    clients = Clients(plan)
    say("ready")
    sys.stdin.buffer.readline()
    say(clients.run())


if __name__ == "__main__":
    main()
