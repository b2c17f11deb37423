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
    assert (tcp.session(None), tcp.connection(None), tcp.feed()) == (None, None, None)
    tcp.drain()
    assert tcp.requests().feed(b"still") != []
