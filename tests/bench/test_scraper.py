"""A scraper asks again and again, and is no contestant's any more when its round is over."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tests.bench.scraper import scrape, scraping


def serve(listener: socket.socket, reply: bytes, asked: list[bytes], enough: threading.Event) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the end
            return
        with client:
            asked.append(client.recv(1000))
            client.sendall(reply)
        if len(asked) >= 3:
            enough.set()


def test_metrics_are_asked_for_until_the_round_is_over(tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    asked: list[bytes] = []
    enough = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        reply = b"HTTP/1.1 200 OK\r\n\r\nx 1\n"
        thread = threading.Thread(target=serve, args=(listener, reply, asked, enough))
        thread.start()
        with scraping(path):
            assert enough.wait(60)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert all(each.startswith(b"GET /metrics ") for each in asked)


def test_who_gets_no_metrics_is_no_contestant(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        scrape(str(tmp_path / "none"))
