"""[clients] and [queue]."""

from __future__ import annotations

from muxproxy.config.model import ClientsTls
from muxproxy.protocols.contract import Sharing
from tests.mux.ways.live import GET, OK, Live, as_new, scene
from tests.toys import Toy

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@scene("clients.listen")
def _listen() -> None:
    """The supervisor's and the worker's: the pool knows no listener."""
    Live().set("clients.listen", ("127.0.0.1:0", "127.0.0.1:81"))


@scene("clients.from")
def _from() -> None:
    """Asked at the door (worker/door.py): who is in has been asked."""
    Live().set("clients.from", ("10.0.0.0/8",))


@scene("clients.tls")
def _tls() -> None:
    """The listener's (tests/worker/arriving/test_newcomer.py): who has shaken hands has."""
    Live().set("clients.tls", ClientsTls("/cert.pem", "/key.pem"))


@scene("clients.redirect")
def _redirect() -> None:
    """The kernel's rules (cli/redirect/command.py): no pool knows of them."""
    Live().set("clients.redirect", ("6379",))


@scene("clients.redirect_users")
def _redirect_users() -> None:
    """Likewise."""
    Live().set("clients.redirect_users", ("app",))


@scene("clients.redirect_cgroups")
def _redirect_cgroups() -> None:
    """Likewise."""
    Live().set("clients.redirect_cgroups", ("system.slice/app.service",))


@scene("clients.transparent")
def _transparent() -> None:
    as_new("clients.transparent", False, True)


@scene("clients.backlog")
def _backlog() -> None:
    """The kernel's, of a listener."""
    Live().set("clients.backlog", 64)


@scene("clients.max_connections")
def _max_connections() -> None:
    live = Live()
    bob = live.client()
    live.set("clients.max_connections", 1)
    assert bob.is_open
    assert b"503" in live.client().got()
    live.set("clients.max_connections", 5)
    assert live.client().got() == b""


@scene("clients.idle_timeout")
def _idle_timeout() -> None:
    live = Live()
    bob = live.client()
    live.set("clients.idle_timeout", 5.0)
    carl = live.client()
    live.stage.passes(6.0)
    assert not carl.is_open
    assert bob.is_open, "a deadline that is set stays"
    session = Live("tcp")
    session.set("clients.idle_timeout", 5.0)
    session.stage.passes(6.0)
    assert not session.ann.is_open


@scene("clients.head_timeout")
def _head_timeout() -> None:
    live = Live()
    live.set("clients.head_timeout", 1.0)
    bob = live.client(b"GET")
    live.stage.passes(1.5)
    assert b" 408 " in bob.got()


@scene("clients.stall_timeout")
def _stall_timeout() -> None:
    live = Live(clients__response_buffer=100)
    live.set("clients.stall_timeout", 3.0)
    bob = live.client(GET)
    bob.stops_reading()
    live.server.sends(LONG + b"x" * 500)
    live.stage.passes(4.0)
    assert not bob.is_open


@scene("clients.hold_timeout")
def _hold_timeout() -> None:
    live = Live(clients__hold_timeout=8.0, clients__response_buffer=100, upstream__max_connections=1)
    live.set("clients.hold_timeout", 1.0)
    bob = live.client(GET)
    bob.stops_reading()
    live.server.sends(LONG + b"x" * 500)
    live.client(GET)
    live.stage.passes(3.0)
    assert not bob.is_open
    assert live.outcomes["client_stalled"] == 1


@scene("clients.hold_rate")
def _hold_rate() -> None:
    live = Live(
        toy=Toy(Sharing.ORDERED),
        clients__hold_rate=1000,
        clients__stall_timeout=60.0,
        clients__response_buffer=1000,
        clients__pipeline_buffer=1000,
        upstream__max_connections=1,
        upstream__suspect_after=60.0,
        queue__timeout=60.0,
    )
    live.set("clients.hold_rate", 1_000_000)
    bob = live.client()
    bob.stops_reading()
    bob.sends(b"large\n")
    live.client(b"small\n")
    live.server.sends(b"large +30000\n" + b"l" * 20_000)
    live.stage.passes(2.0)
    assert not bob.is_open, "at the old rate it would have had 20 s"


@scene("clients.min_rate")
def _min_rate() -> None:
    live = Live(clients__min_rate=1)
    live.set("clients.min_rate", 100)
    bob = live.client(POST)
    for _ in range(15):
        bob.sends(b"xx")
        live.stage.passes(1.0)
    assert b" 408 " in bob.got()


@scene("clients.request_buffer")
def _request_buffer() -> None:
    live = Live()
    bob = live.client(POST + b"x" * 100)
    live.set("clients.request_buffer", 200)
    assert live.server.got() == b""
    bob.sends(b"x" * 201)
    assert live.server.got().endswith(b"x" * 301), "no more than that is held"


@scene("clients.response_buffer")
def _response_buffer() -> None:
    live = Live()
    live.set("clients.response_buffer", 100)
    assert live.ann.wire.high == 64 * 1024
    bob = live.client(GET)
    bob.stops_reading()
    live.server.sends(LONG + b"x" * 500)
    assert live.server.is_paused


@scene("clients.pipeline_buffer")
def _pipeline_buffer() -> None:
    live = Live(clients__response_buffer=100)
    live.set("clients.pipeline_buffer", 2000)
    bob = live.client()
    bob.stops_reading()
    for _ in range(60):
        bob.sends(GET)
        if live.server.got():
            live.server.sends(OK)
    assert live.outcomes["unread"] > 0


@scene("queue.max_waiting")
def _max_waiting() -> None:
    live = Live(upstream__max_connections=1)
    live.set("queue.max_waiting", 1)
    live.client(GET)
    bob = live.client(GET)
    assert b" 503 " in live.client(GET).got()
    live.set("queue.max_waiting", 2, serves=False)
    carl = live.client(GET)
    live.set("queue.max_waiting", 0, serves=False)
    assert b" 503 " in live.client(GET).got()
    for _ in range(3):
        live.server.sends(OK)
    assert bob.got() == carl.got() == OK, "who waits has not been sent away"


@scene("queue.timeout")
def _timeout() -> None:
    live = Live(upstream__max_connections=1, queue__timeout=4.0)
    live.client(GET)
    bob = live.client(GET)
    live.stage.passes(1.0)
    live.set("queue.timeout", 0.5, serves=False)
    carl = live.client(GET)
    live.stage.passes(0.6)
    assert b"waited 0.5 s" in carl.got()
    live.stage.passes(2.2)
    assert bob.got() == b""
    live.stage.passes(0.3)
    assert b"waited 4 s" in bob.got()
