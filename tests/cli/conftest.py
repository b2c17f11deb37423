"""An admin server on a unix socket that says what a test wants."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.reports import REPORT


class FakeAdmin:
    """Answers every connection with `reply`, and remembers what it was asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reply = b""
        self.asked: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:  # closed
                return
            with client:
                self.asked.append(_whole_request(client))
                client.sendall(self.reply)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def answer(self, body: bytes, status: str = "200 OK") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.reply = head.encode() + body


def _whole_request(client: socket.socket) -> bytes:
    """What is left unread at the end would destroy the answer."""
    data = b""
    while chunk := client.recv(65536):
        data += chunk
        head, end, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if end and len(body) >= int(length[1] if length else 0):
            break
    return data


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[FakeAdmin]:
    server = FakeAdmin(tmp_path / "admin.sock")
    server.answer(json.dumps(REPORT).encode())
    yield server
    server.close()
