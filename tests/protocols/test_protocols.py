"""The table of protocols: what `build` makes of a backend."""

from __future__ import annotations

import pytest

from muxproxy.config.model import Backend, Clients, Http, Upstream
from muxproxy.protocols import PROTOCOLS, build
from muxproxy.protocols.http import HttpProtocol


def backend(protocol: str, server: str, **http: int) -> Backend:
    return Backend("b", protocol, Clients(("127.0.0.1:0",)), Upstream((server,)), http=Http(**http))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_of_the_table_is_built_under_its_name(name: str) -> None:
    assert build(backend(name, "127.0.0.1:80")).name == name


@pytest.mark.parametrize(
    ("server", "host"),
    [
        ("origin:8080", b"origin:8080"),
        ("origin:80", b"origin"),
        ("[::1]:80", b"[::1]"),
        ("unix:/run/app.sock", b"localhost"),
    ],
)
def test_an_old_request_without_host_is_for_the_first_server(server: str, host: bytes) -> None:
    (frame,) = build(backend("http", server)).requests().feed(b"GET / HTTP/1.0\r\n\r\n")
    assert frame.data == b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"


def test_the_backends_own_limits_count() -> None:
    http = build(backend("http", "a:80", max_target=10))
    assert isinstance(http, HttpProtocol)
    (frame,) = http.requests().feed(b"GET /0123456789 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert frame.data.startswith(b"HTTP/1.1 414 ")
