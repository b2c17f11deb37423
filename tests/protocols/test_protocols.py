"""The table of protocols: what `build` makes of a backend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.config.model import Backend, Clients, Http, Upstream
from muxproxy.protocols import PROTOCOLS, build
from muxproxy.protocols.contract import BROKEN
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


CANARY = b"hunter2"
# What is said on shared connections: to be cut, spoilt and repeated with a secret in the middle.
SAID = {
    "redis": (
        b"$7\r\n" + CANARY + b"\r\n",
        b"*2\r\n",
        b"%1\r\n",
        b"$?\r\n;1\r\na\r\n",
        b"+OK\r\n",
        b"-ERR no\r\n",
    ),
    "dubbo": (b"\xda\xbb\x02\x14" + bytes(11) + b"\x07" + CANARY, b"\xda\xbb\xe2" + bytes(12) + b"\x01N"),
}


@pytest.mark.parametrize("name", SAID)
@given(data=st.data())
def test_what_is_wrong_on_a_shared_connection_is_told_without_a_byte_of_it(
    name: str, data: st.DataObject
) -> None:
    """All whose requests are in flight there read it, and the log's reader."""
    protocol = build(backend(name, "127.0.0.1:80"))
    pieces = st.one_of(st.sampled_from([*SAID[name], CANARY]), st.binary(max_size=4))
    said = b"".join(data.draw(st.lists(pieces, max_size=8)))
    at = data.draw(st.integers(0, len(said)))
    for framer in (protocol.replies(), protocol.requests()):
        for chunk in (said[:at] + CANARY, said[at:]):
            for frame in framer.feed(chunk):
                if frame.marks & BROKEN:
                    assert CANARY.decode() not in frame.note
