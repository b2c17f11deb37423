"""Raw TCP as a protocol: sessions that are not shared, and a refusal that is only a way to end."""

from __future__ import annotations

import pytest

from muxproxy.config.model import Tcp
from muxproxy.protocols.contract import BROKEN, END_CLIENT, FIRST, LAST, Reason, Sharing
from muxproxy.protocols.tcp import TcpProtocol


def test_a_session_has_its_connection_alone_and_ends_side_by_side() -> None:
    tcp = TcpProtocol(Tcp())
    assert tcp.sharing is Sharing.DEDICATED
    assert tcp.half_close


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_says_nothing_and_is_an_error_unless_the_operator_wants_an_end(reason: Reason) -> None:
    said = [
        TcpProtocol(Tcp(refuse=refuse)).refusal(reason, "no place", retry_after=1)
        for refuse in ("rst", "fin")
    ]
    assert [frame.data for frame in said] == [b"", b""]
    assert [frame.marks & (FIRST | LAST | END_CLIENT) for frame in said] == [FIRST | LAST | END_CLIENT] * 2
    assert [bool(frame.marks & BROKEN) for frame in said] == [True, False]


def test_nothing_of_ours_is_ever_said_in_a_session() -> None:
    tcp = TcpProtocol(Tcp())
    assert tcp.probe() is None
    assert (tcp.session(tcp.requests()), tcp.connection(tcp.replies()), tcp.feed()) == (None, None, None)
    tcp.drain()
    assert tcp.requests().feed(b"still") != []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x00\x00\x00\x10\x04\xd2\x16\x2e" + bytes(8), True),
        (b"\x00\x00\x00\x2c\x04\xd2\x16\x2e" + bytes(36), True),  # protocol 3.2: a longer key
        (b"\x00\x00\x00\x10\x04\xd2\x16", False),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", False),  # SSLRequest
        (b"\x00\x00\x00\x29\x00\x03\x00\x00user\x00", False),
        (b"\x00\x00\x0a\x10\x04\xd2\x16\x2e", False),  # longer than any key may be
        (b"", False),
    ],
)
def test_a_cancel_request_of_postgresql_is_known_by_its_first_eight_bytes(
    data: bytes, expected: bool
) -> None:
    protocol = TcpProtocol(Tcp())
    assert protocol.is_reserved(data) is expected
