"""What each session of a forward proxy needs is the destination of its last request."""

from __future__ import annotations

from muxproxy.config.destination import Destination
from muxproxy.protocols import build
from muxproxy.protocols.contract import Reason, Sharing
from muxproxy.protocols.http import HttpProtocol
from muxproxy.protocols.http.forward.protocol import ForwardProtocol
from tests.config import models
from tests.protocols.http.forward.talk import proxy


def test_a_session_needs_what_its_last_request_names() -> None:
    http = proxy()
    framer = http.requests()
    session = http.session(framer)
    for host in ("a", "b"):
        (frame,) = framer.feed(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        assert session.on_request(frame) is frame
        assert session.needs == Destination(host, 80)
        framer.resume()
    assert session.size == 0


def test_only_who_goes_where_a_request_says_is_a_forward_proxy() -> None:
    assert type(build(models.backend())) is HttpProtocol
    made = build(models.backend(upstream__to="host", upstream__servers=()))
    assert type(made) is ForwardProtocol
    assert (made.name, made.sharing, made.half_close) == ("http", Sharing.EXCLUSIVE, True)
    assert made.refusal(Reason.LOOP, "x").data.startswith(b"HTTP/1.1 508 Loop Detected\r\n")
