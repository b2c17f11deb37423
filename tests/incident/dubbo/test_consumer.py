"""The consumer: all of its connections are opened, then it calls; what is not the right reply is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from muxproxy.incident.dubbo import consumer as module
from muxproxy.incident.dubbo.consumer import Consumer
from muxproxy.incident.dubbo.wire import CALL, Frame, Frames, encode, reply, token_of_call
from tests.incident.playing import last_word

INTERFACES, CONNECTIONS = 3, 4
Answer = Callable[[Frame], bytes]


class Provider:
    def __init__(self, answer: Answer) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.answer = answer
        self.served = 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        """Nobody is served before all have come."""
        everybody = [self.server.accept()[0] for _ in range(INTERFACES * CONNECTIONS)]
        self.served = len(everybody)
        for sock in everybody:
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock: socket.socket) -> None:
        frames = Frames()
        with sock:
            while data := sock.recv(4096):
                for frame in frames.feed(data):
                    if answer := self.answer(frame):
                        sock.sendall(answer)


def right(frame: Frame) -> bytes:
    assert frame.flags == CALL
    return reply(frame.tag, token_of_call(frame.body))


def called(address: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The consumer's last word."""
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    order = {"address": address, "connections": CONNECTIONS, "interfaces": INTERFACES, "rate": 200.0}
    return last_word(Consumer, order | {"seconds": 0.1}, monkeypatch)


def test_all_is_open_before_the_first_call_and_every_interface_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = Provider(right)
    done = called(provider.address, monkeypatch)
    provider.server.close()
    assert provider.served == INTERFACES * CONNECTIONS == done["dialled"] == done["open"]
    assert done["errors"] == {}
    assert done["replies"] >= INTERFACES
    assert done["ready"] > 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda frame: reply(frame.tag, b"another"), "another's reply"),
        (lambda frame: encode(0x02, frame.tag, b"", 100), "status 100"),
        (lambda frame: b"", "no reply in 0.2 s"),
        (lambda frame: b"HTTP/1.1 400 Bad Request", "read: no Dubbo frame: b'HTTP/1.1 400 Bad'"),
    ],
)
def test_what_is_not_the_right_reply_is_an_error(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, error: str
) -> None:
    provider = Provider(answer)
    done = called(provider.address, monkeypatch)
    provider.server.close()
    assert error in done["errors"]
    assert done["replies"] == 0
    assert done["ready"] is None


def test_who_cannot_connect_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    done = called(address, monkeypatch)
    assert done["errors"]["connect: Connection refused"] == INTERFACES * CONNECTIONS
    assert done["ready"] is None
