"""[upstream]."""

from __future__ import annotations

from muxproxy.budget import Order
from muxproxy.config.model import UpstreamTls
from muxproxy.mux.base.lookout import EVERY
from muxproxy.protocols.contract import Sharing
from tests.mux.ways.live import GET, OK, Live, as_new, scene
from tests.toys import Toy


def _tells_servers(live: Live, *removed: str) -> None:
    """As the resolver does, when there are others."""
    stage = live.stage
    with stage.turn():
        stage.pool.set_servers(list(live.config.upstream.servers), stage.world.now, "", removed)


def _orders(live: Live, most: int) -> None:
    """As who lends does, when there are more or fewer to lend."""
    stage = live.stage
    with stage.turn():
        stage.pool.allowance.on_order(Order(stage.pool.allowance.share.serial + 1, most, 0), stage.world.now)


@scene("upstream.servers")
def _servers() -> None:
    live = Live()
    live.set("upstream.servers", ("one:1", "two:2"))
    _tells_servers(live)
    assert {str(server) for server in live.stage.pool.servers} == {"one:1", "two:2"}
    live.is_served()
    live.ann.sends(GET)
    assert live.server.got() == GET
    live.set("upstream.servers", ("two:2",), serves=False)
    _tells_servers(live, "one:1")
    assert live.server.is_open
    live.client(GET)
    assert live.server.got() == b"", "nothing new goes there"
    live.server.sends(OK)
    assert live.ann.got() == OK
    assert not live.server.is_open
    assert live.ann.is_open


@scene("upstream.max_connections")
def _max_connections() -> None:
    """What there may be comes from who lends, which hears of it besides."""
    live = Live(upstream__max_connections=1)
    live.set("upstream.max_connections", 2)
    live.ann.sends(GET)
    live.client(GET)
    _orders(live, 2)
    other = live.connects()
    assert other.got() == GET
    live.set("upstream.max_connections", 1, serves=False)
    _orders(live, 1)
    other.sends(OK)
    assert not other.is_open
    live.server.sends(OK)
    assert live.server.is_open


@scene("upstream.to")
def _to() -> None:
    as_new("upstream.to", "servers", "original")


@scene("upstream.allow")
def _allow() -> None:
    """Asked of the judge (config/destination/), of each request and of each address that is dialled."""
    Live().set("upstream.allow", ("*.internal",))


@scene("upstream.deny")
def _deny() -> None:
    """Likewise."""
    Live().set("upstream.deny", ("10.0.0.0/8",))


@scene("upstream.max_lifetime")
def _max_lifetime() -> None:
    live = Live(upstream__idle_timeout=1000.0)
    live.set("upstream.max_lifetime", 0.0)
    live.stage.passes(250.0)
    live.set("upstream.max_lifetime", 300.0)
    live.set("upstream.max_lifetime", 20.0, serves=False)
    assert not live.server.is_open
    assert live.stage.pool.closed == {"max_lifetime": 1}
    bob = live.client(GET)
    other = live.connects()
    live.set("upstream.max_lifetime", 100.0, serves=False)
    live.stage.passes(30.0)
    other.sends(OK)
    assert bob.got() == OK
    assert not other.is_open, "it keeps what it began with"


@scene("upstream.max_connections_each")
def _max_connections_each() -> None:
    """Of the pools of destinations: one of servers alone has none."""
    live = Live()
    live.set("upstream.max_connections_each", 9)
    live.set("upstream.max_connections_each", 7)


@scene("upstream.max_destinations")
def _max_destinations() -> None:
    """Likewise."""
    Live().set("upstream.max_destinations", 5)


@scene("upstream.min_connections")
def _min_connections() -> None:
    live = Live()
    live.set("upstream.min_connections", 2)
    live.connects()
    live.set("upstream.min_connections", 1, serves=False)
    live.stage.passes(31.0)
    live.stage.passes(31.0)
    assert len(live.stage.pool.upstreams) == 1


@scene("upstream.max_in_flight")
def _max_in_flight() -> None:
    live = Live(toy=Toy(Sharing.ORDERED), upstream__max_connections=1, upstream__suspect_after=60.0)
    live.set("upstream.max_in_flight", 1)
    live.client(b"b\n")
    live.client(b"c\n")
    assert live.server.got() == b"b\n"
    live.set("upstream.max_in_flight", 2, serves=False)
    assert live.server.got() == b"c\n"


@scene("upstream.max_pinned")
def _max_pinned() -> None:
    live = Live(toy=Toy(Sharing.ORDERED, sessions=True), upstream__max_connections=4)
    live.set("upstream.max_pinned", 1)
    bob = live.client(b"b pin\n")
    assert live.server.got() == b"b pin\n"
    live.server.sends(b"b\n")
    assert bob.got() == b"b\n"
    live.client(b"c pin\n")
    assert not live.stage.dials
    live.set("upstream.max_pinned", 2, serves=False)
    assert live.connects().got() == b"c pin\n"
    live.set("upstream.max_pinned", 0, serves=False)
    bob.sends(b"d unpin\n")
    assert live.server.got() == b"d unpin\n", "who has one keeps it"


@scene("upstream.connect_timeout")
def _connect_timeout() -> None:
    live = Live(upstream__connect_timeout=5.0)
    live.set("upstream.connect_timeout", 0.2)
    live.client(GET)
    live.client(GET)
    (dialled,) = live.stage.dials
    live.stage.passes(0.3)
    assert dialled not in live.stage.dials


@scene("upstream.tls")
def _tls() -> None:
    """What was trusted before may be what must not be trusted any more."""
    live = Live()
    live.ann.sends(GET)
    assert live.server.got() == GET
    bob = live.client(GET)
    (dialled,) = live.stage.dials
    live.set("upstream.tls", UpstreamTls(ca_file="/ca.pem"), serves=False)
    assert dialled not in live.stage.dials
    live.server.sends(OK)
    assert live.ann.got() == OK
    assert not live.server.is_open, "it closes as it comes free"
    server = live.connects()
    assert server.got() == GET
    server.sends(OK)
    assert bob.got() == OK
    secure = server.wire.brain.secure()
    assert (secure.tls.ca_file, secure.name, secure.backend, secure.protocol) == (
        *("/ca.pem", "one"),
        *("live", "http"),
    )


@scene("upstream.suspect_after")
def _suspect_after() -> None:
    live = Live(toy=Toy(Sharing.ORDERED), upstream__suspect_after=60.0)
    live.set("upstream.suspect_after", 0.1)
    live.client(b"b\n")
    live.stage.passes(0.2)
    assert live.stage.statistics()["upstream"]["suspect"] == 1


@scene("upstream.max_unanswered")
def _max_unanswered() -> None:
    live = Live(upstream__max_connections=1)
    live.set("upstream.max_unanswered", 1)
    live.ann.sends(GET)
    live.client(GET)
    live.server.wire.unanswered = 1
    live.stage.passes(1.1 * EVERY)
    assert not live.server.is_open


@scene("upstream.reply_timeout")
def _reply_timeout() -> None:
    live = Live()
    bob = live.client(GET)
    assert live.server.got() == GET
    live.set("upstream.reply_timeout", 1.0, serves=False)
    carl = live.client(GET)
    live.connects()
    live.stage.passes(1.1)
    assert b" 504 " in carl.got()
    assert bob.got() == b"", "a deadline that is set stays"


@scene("upstream.idle_timeout")
def _idle_timeout() -> None:
    live = Live()
    live.set("upstream.idle_timeout", 2.0)
    live.stage.passes(2.1)
    assert not live.server.is_open


def _fails(live: Live) -> float:
    """A connect fails. Returns until when its server is left alone."""
    live.ann.sends(GET)
    live.client(GET)
    live.stage.refuses()
    (server,) = live.stage.pool.servers
    return server.retry_at - live.stage.world.now


@scene("upstream.backoff_min")
def _backoff_min() -> None:
    live = Live()
    live.stage.world.random = 1.0
    live.set("upstream.backoff_min", 0.5)
    assert abs(_fails(live) - 0.5) < 1e-6


@scene("upstream.backoff_max")
def _backoff_max() -> None:
    live = Live(upstream__backoff_min=0.6)
    live.stage.world.random = 1.0
    live.set("upstream.backoff_max", 0.4)
    assert abs(_fails(live) - 0.4) < 1e-6


@scene("upstream.name_grace")
def _name_grace() -> None:
    live = Live(upstream__idle_timeout=1000.0)
    live.set("upstream.name_grace", 10.0)
    with live.stage.turn():
        live.stage.pool.set_servers(["two:2"], live.stage.world.now)
    live.is_served()
    live.stage.passes(11.0)
    with live.stage.turn():
        live.stage.pool.set_servers(["two:2"], live.stage.world.now)
    assert not live.server.is_open


@scene("upstream.name_ttl")
def _name_ttl() -> None:
    """The resolver's (tests/worker/backend/test_resolver.py), which asks the pool."""
    live = Live()
    live.set("upstream.name_ttl", 1.0)
    assert live.stage.pool.config.name_ttl == 1.0


@scene("upstream.abandoned_bytes")
def _abandoned_bytes() -> None:
    live = Live()
    live.set("upstream.abandoned_bytes", 100)
    live.client(GET).closes()
    live.server.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
    assert not live.server.is_open


@scene("upstream.abandoned_timeout")
def _abandoned_timeout() -> None:
    live = Live()
    live.set("upstream.abandoned_timeout", 0.5)
    live.client(GET).closes()
    live.stage.passes(0.6)
    assert not live.server.is_open


@scene("upstream.keepalive")
def _keepalive() -> None:
    """The hands ask when it connects."""
    live = Live()
    live.set("upstream.keepalive", 5.0)
    live.ann.sends(GET)
    live.client(GET)
    assert live.connects().wire.brain.keepalive()[0] == 5.0
