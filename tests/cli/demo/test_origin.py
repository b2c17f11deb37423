"""The demo's origin: it answers with the path, and counts the sockets it has accepted and not closed."""

from __future__ import annotations

import asyncio

import pytest

from muxproxy.cli.demo.origin import MAX_HEAD, Connection, Sockets, reply


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = close


def conversation(*chunks: bytes) -> FakeTransport:
    transport = FakeTransport()
    connection = Connection(Sockets())
    connection.connection_made(transport)
    for chunk in chunks:
        connection.data_received(chunk)
    return transport


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_each_request_gets_its_own_path_back_however_it_is_cut(size: int) -> None:
    data = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n"
    transport = conversation(*(data[at : at + size] for at in range(0, len(data), size)))
    first, second = transport.written.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert first.endswith(b"This-Connection: 1\r\nContent-Length: 5\r\n\r\n/one\n")
    assert second.endswith(b"This-Connection: 2\r\nContent-Length: 5\r\n\r\n/two\n")
    assert not transport.is_closed


def test_a_head_is_answered_with_a_length_and_no_body() -> None:
    answer, is_last = reply(b"HEAD /one HTTP/1.1\r\nHost: a", 1)
    assert answer.endswith(b"Content-Length: 5\r\n\r\n")
    assert not is_last


@pytest.mark.parametrize(
    ("field", "status"),
    [(b"Content-Length: 3", b"413"), (b"Transfer-Encoding: chunked", b"413"), (b"Connection: Close", b"200")],
)
def test_what_cannot_be_followed_by_another_request_ends_the_connection(field: bytes, status: bytes) -> None:
    transport = conversation(b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\nabc")
    assert transport.written[9:12] == status
    assert b"\r\nConnection: close\r\n" in transport.written
    assert transport.is_closed


def test_a_head_without_end_ends_the_connection() -> None:
    assert conversation(b"x" * (MAX_HEAD + 1)).is_closed


def test_the_peak_is_the_most_at_one_time_since_the_mark() -> None:
    sockets = Sockets()
    for _ in range(3):
        sockets.on_opened()
    sockets.on_closed()
    assert sockets.report() == {"open": 2, "high": 3, "peak": 3, "opened": 3}
    assert sockets.report() == {"open": 2, "high": 2, "peak": 3, "opened": 3}
    sockets.mark()
    sockets.on_closed()
    sockets.on_opened()
    assert sockets.report() == {"open": 2, "high": 2, "peak": 2, "opened": 3}


def test_a_peak_between_two_reports_is_not_lost_to_a_mark() -> None:
    sockets = Sockets()
    sockets.mark()
    sockets.on_opened()
    sockets.on_closed()
    assert sockets.report()["peak"] == 1
