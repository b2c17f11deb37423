"""[http], [dubbo], [tcp], and the protocol itself."""

from __future__ import annotations

import re

from muxproxy.config.model import Limit, Route
from muxproxy.protocols.tcp import RESERVED
from tests.fakes import Peer
from tests.mux.ways.live import OK, Live, as_new, scene
from tests.protocols.dubbo.feeding import CALL, READONLY, REPLY, frame, invocation

UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHES = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CANCEL = b"\x00\x00\x00\x10\x04\xd2\x16\x2e" + b"\x00" * 8


@scene("protocol")
def _protocol() -> None:
    as_new("protocol", "http", "redis")


@scene("http.max_head")
def _max_head() -> None:
    live = Live()
    long = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 1500)
    live.ann.sends(long)
    live.server.sends(OK)
    assert live.ann.got() == OK, "and it is remembered"
    live.server.got()
    bob = live.client()
    live.set("http.max_head", 1024)
    bob.sends(long)
    assert b" 431 " in bob.got(), "who is there, too"


@scene("http.max_target")
def _max_target() -> None:
    live = Live()
    bob = live.client()
    live.set("http.max_target", 10)
    bob.sends(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 20))
    assert b" 414 " in bob.got()


@scene("http.max_upgraded")
def _max_upgraded() -> None:
    live = Live(upstream__max_connections=4, http__max_upgraded=1)
    bob = live.client(UPGRADE)
    server = live.server
    server.got()
    server.sends(SWITCHES)
    assert bob.got() == SWITCHES
    live.client(UPGRADE)
    assert not live.stage.dials
    live.set("http.max_upgraded", 2, serves=False)
    assert live.connects().got() == UPGRADE
    live.set("http.max_upgraded", 0, serves=False)
    bob.sends(b"words")
    assert server.got() == b"words"


@scene("http.tunnel_timeout")
def _tunnel_timeout() -> None:
    live = Live()
    bob = live.client(UPGRADE)
    live.server.got()
    live.server.sends(SWITCHES)
    live.set("http.tunnel_timeout", 60.0, serves=False)
    bob.sends(b"words")
    live.stage.passes(61.0)
    assert not bob.is_open


@scene("http.max_tunnels")
def _max_tunnels() -> None:
    """Of who goes where a request says: servers have no tunnels."""
    Live().set("http.max_tunnels", 1)


@scene("http.routes")
def _routes() -> None:
    """Likewise."""
    live = Live()
    live.set("http.routes", (Route("a.internal"),))
    live.set("http.routes", ())


def _calls(live: Live, server: Peer, tag: int, method: str) -> Peer:
    return live.client(frame(CALL, tag, invocation("s", method)))


@scene("dubbo.limits")
def _limits() -> None:
    """A limit of another name, fewer places, more, in another order; what is in hand counts on."""
    one, two = Limit("s", 1, "x"), Limit("s", 1, "y")
    live = Live("dubbo", dubbo__limits=(one, two), upstream__max_connections=1, upstream__suspect_after=60.0)
    server = live.server
    for tag, method in ((1, "x"), (2, "x"), (3, "y"), (4, "y")):
        _calls(live, server, tag, method)
    assert server.got().count(b"2.0.2") == 2
    live.set("dubbo.limits", (two, Limit("s", 2, "x")), serves=False)
    assert server.got() == frame(CALL, server.wire.brain._slots.given, invocation("s", "x"))
    _calls(live, server, 5, "x")
    assert server.got() == b""
    live.set("dubbo.limits", (Limit("s", 1, "y"), Limit("s", 1, "z")), serves=False)
    assert server.got() == frame(CALL, server.wire.brain._slots.given, invocation("s", "x")), (
        "it has none now"
    )
    assert live.stage.statistics()["limited"].keys() == {"s.y", "s.z"}
    for tag in (6, 7):
        _calls(live, server, tag, "z")
    assert server.got().count(b"2.0.2") == 1
    for tag in range(2, server.wire.brain._slots.given + 1):
        server.sends(frame(REPLY, tag, b"\x94", 20))
    assert server.got().count(b"2.0.2") == 2
    server.sends(frame(REPLY, server.wire.brain._slots.given, b"\x94", 20))
    server.sends(frame(REPLY, server.wire.brain._slots.given - 1, b"\x94", 20))
    assert live.outcomes == {"ok": 8}
    assert [of["active"] for of in live.stage.statistics()["limited"].values()] == [0, 0]
    as_new("dubbo.limits", (), (one,))
    as_new("dubbo.limits", (one,), ())


@scene("dubbo.max_frame")
def _max_frame() -> None:
    live = Live("dubbo")
    bob = live.client()
    live.set("dubbo.max_frame", 100)
    bob.sends(frame(CALL, 1, invocation("s", "m" * 100)))
    assert live.server.got() == b""


@scene("dubbo.heartbeat")
def _heartbeat() -> None:
    live = Live("dubbo", upstream__idle_timeout=1000.0)
    live.set("dubbo.heartbeat", 2.0)
    live.stage.passes(2.1)
    assert live.server.got().endswith(b"N")
    live.set("dubbo.heartbeat", 0.0, serves=False)
    live.stage.passes(60.0)
    assert live.server.got() == b""
    live.is_served()


@scene("dubbo.heartbeat_misses")
def _heartbeat_misses() -> None:
    live = Live("dubbo", upstream__idle_timeout=1000.0, dubbo__heartbeat=2.0)
    live.set("dubbo.heartbeat_misses", 1)
    live.stage.passes(4.2)
    assert not live.server.is_open


@scene("dubbo.readonly_timeout")
def _readonly_timeout() -> None:
    live = Live("dubbo")
    live.set("dubbo.readonly_timeout", 5.0)
    live.server.sends(frame(0xA2, 1, READONLY))
    (server,) = live.stage.pool.servers
    assert server.stopping == live.stage.world.now + 5.0


def _full(live: Live) -> Peer:
    """A client that finds neither a place nor room to wait."""
    return live.client(b"hello")


@scene("tcp.refuse")
def _refuse() -> None:
    live = Live("tcp", upstream__max_connections=1, queue__max_waiting=0)
    live.set("tcp.refuse", "fin")
    assert not _full(live).wire.was_reset
    live.set("tcp.refuse", "rst")
    assert _full(live).wire.was_reset


@scene("tcp.reserve")
def _reserve() -> None:
    live = Live("tcp", upstream__max_connections=3, tcp__reserve=1)
    live.set("tcp.reserve", 2)
    live.client(b"hello")
    assert not live.stage.dials, "all others leave these places"
    live.set("tcp.reserve", 1)
    assert len(live.stage.dials) == 1
    as_new("tcp.reserve", 0, 1)
    as_new("tcp.reserve", 1, 0)


@scene("tcp.reserve_for")
def _reserve_for() -> None:
    """So far there is one name that an operator can write."""
    live = Live("tcp", upstream__max_connections=2, tcp__reserve=1)
    protocol = live.stage.pool.protocol
    assert protocol.is_reserved(CANCEL)
    RESERVED["toy"] = re.compile(b"toy")
    try:
        live.set("tcp.reserve_for", "toy")
    finally:
        del RESERVED["toy"]
    assert not protocol.is_reserved(CANCEL)
    live.client(b"toy-cancel")
    assert live.connects().got() == b"toy-cancel"


@scene("tcp.session_timeout")
def _session_timeout() -> None:
    live = Live("tcp")
    live.set("tcp.session_timeout", 5.0)
    bob = live.client(b"hello")
    live.connects()
    live.stage.passes(5.1)
    assert not bob.is_open
    live.is_served()
