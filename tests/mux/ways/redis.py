"""[redis]. Logins and their clients: tests/protocols/redis/test_reload.py has more of them."""

from __future__ import annotations

from tests.fakes import Peer
from tests.mux.ways.live import Live, as_new, scene
from tests.protocols.redis.talk import command

REPLY = b"$1\r\na\r\n"


def _asks(live: Live, client: Peer, line: str, reply: bytes = b"+OK\r\n") -> bytes:
    """What comes of it; a server that is asked says `reply`."""
    client.sends(command(line))
    if live.server.got():
        live.server.sends(reply)
    return client.got()


@scene("redis.auth")
def _auth() -> None:
    as_new("redis.auth", "configured", "passthrough")


@scene("redis.username")
def _username() -> None:
    live = Live("redis", upstream__max_connections=1)
    live.set("redis.username", "mux", serves=False)
    assert not live.server.is_open
    live.ann.sends(command("GET a"))
    assert live.connects(command("AUTH mux ")).got() == command("GET a")


@scene("redis.password", "redis.password_file")
def _password() -> None:
    """With a file it is what load.py has read there that counts."""
    live = Live("redis", upstream__max_connections=1)
    live.set("redis.password_file", "/run/secret")
    live.ann.sends(command("GET a"))
    assert live.server.got() == command("GET a")
    live.set("redis.password", "new", serves=False)
    live.client(command("GET b"))
    assert live.server.got() == b""
    live.server.sends(REPLY)
    assert live.ann.got() == REPLY
    assert not live.server.is_open
    assert live.connects(command("AUTH new")).got() == command("GET b")


@scene("redis.client_password", "redis.client_password_file")
def _client_password() -> None:
    live = Live("redis")
    live.set("redis.client_password_file", "/run/secret")
    bob = live.client()
    live.set("redis.client_password", "sec")
    assert _asks(live, bob, "GET a", REPLY) == REPLY
    carl = live.client()
    assert _asks(live, carl, "GET a").startswith(b"-NOAUTH")
    assert _asks(live, carl, "AUTH sec") == b"+OK\r\n"


@scene("redis.allow")
def _allow() -> None:
    live = Live("redis")
    assert b"muxproxy" in _asks(live, live.ann, "SHUTDOWN")
    live.set("redis.allow", ("shutdown",))
    assert _asks(live, live.ann, "SHUTDOWN") == b"+OK\r\n"


@scene("redis.deny")
def _deny() -> None:
    live = Live("redis")
    assert _asks(live, live.ann, "FLUSHALL") == b"+OK\r\n"
    live.set("redis.deny", ("flushall",))
    assert b"muxproxy" in _asks(live, live.ann, "FLUSHALL")
    live.set("redis.deny", ("config|set",))
    assert _asks(live, live.ann, "FLUSHALL") == b"+OK\r\n"
    assert b"muxproxy" in _asks(live, live.ann, "CONFIG SET a b")


def _batches(live: Live) -> list[bytes]:
    """Three commands behind one that is in flight: what is written when the third has come, and later."""
    live.ann.sends(command("GET a"))
    live.server.got()
    for _ in range(3):
        live.client(command("GET b"))
    got = [live.server.got()]
    live.stage.passes(0.02)
    got.append(live.server.got())
    for _ in range(4):
        live.server.sends(REPLY)
    live.ann.got()
    return got


@scene("redis.batch.commands")
def _batch_commands() -> None:
    live = Live("redis", upstream__max_connections=1, redis__batch__delay=0.01)
    live.set("redis.batch.commands", 5)
    assert _batches(live) == [b"", command("GET b") * 3]
    live.set("redis.batch.commands", 3)
    assert _batches(live) == [command("GET b") * 3, b""]
    live.set("redis.batch.commands", 0)
    assert _batches(live) == [command("GET b") * 3, b""]


@scene("redis.batch.delay")
def _batch_delay() -> None:
    live = Live("redis", upstream__max_connections=1, redis__batch__commands=9, redis__batch__delay=0.5)
    live.set("redis.batch.delay", 0.01)
    assert _batches(live) == [b"", command("GET b") * 3]


@scene("redis.fence")
def _fence() -> None:
    live = Live("redis", upstream__max_connections=1)
    live.set("redis.fence", 1, serves=False)
    live.ann.sends(command("GET a"))
    assert live.server.got() == command("GET a") + command("ECHO muxproxy-1")
    live.server.sends(REPLY + b"$10\r\nmuxproxy-1\r\n")
    assert live.ann.got() == REPLY
    live.set("redis.fence", 0)


def _listens(live: Live, client: Peer) -> Peer:
    client.sends(command("SUBSCRIBE a"))
    server = live.server
    if live.stage.dials:
        server = live.connects()
    assert server.got() == command("SUBSCRIBE a")
    server.sends(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")
    client.got()
    return server


def _message(size: int) -> bytes:
    return b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$%d\r\n%b\r\n" % (size, b"x" * size)


@scene("redis.subscriber_buffer")
def _subscriber_buffer() -> None:
    live = Live("redis", clients__response_buffer=100)
    bob = live.client()
    feed = _listens(live, bob)
    live.server = live.server if feed is not live.server else _other(live)
    live.set("redis.subscriber_buffer", 1000, serves=False)
    bob.stops_reading()
    for _ in range(5):
        feed.sends(_message(300))
    assert not bob.is_open


def _other(live: Live) -> Peer:
    live.ann.sends(command("GET a"))
    server = live.connects()
    assert server.got() == command("GET a")
    server.sends(REPLY)
    assert live.ann.got() == REPLY
    return server


@scene("redis.channels_buffer")
def _channels_buffer() -> None:
    live = Live("redis")
    live.set("redis.channels_buffer", 1024)
    assert b"channels_buffer" in _asks(live, live.ann, "SUBSCRIBE a b c")


@scene("redis.subscribe_buffer")
def _subscribe_buffer() -> None:
    live = Live("redis")
    live.set("redis.subscribe_buffer", 4096)
    whole = command("SUBSCRIBE " + " ".join("c" * 100 for _ in range(1000)))
    live.ann.sends(whole[:80_000])
    live.ann.sends(whole[80_000:])
    assert b"of more than 4096 bytes" in live.ann.got()


@scene("redis.session_buffer")
def _session_buffer() -> None:
    live = Live("redis")
    live.set("redis.session_buffer", 1024)
    assert b"session_buffer" in _asks(live, live.ann, "CLIENT SETNAME " + "n" * 1100)


@scene("redis.states_buffer")
def _states_buffer() -> None:
    live = Live("redis")
    for db in range(1, 9):
        assert _asks(live, live.ann, f"SELECT {db}") == b"+OK\r\n"
    states = live.stage.pool.protocol.states
    assert states.size == 8 * 512
    live.set("redis.states_buffer", 1024, serves=False)
    assert states.size <= 1024, "the oldest have gone"
    assert _asks(live, live.ann, "GET a", REPLY) == REPLY


@scene("redis.max_argument")
def _max_argument() -> None:
    live = Live("redis")
    live.set("redis.max_argument", 1024)
    bob = live.client()
    bob.sends(command("GET " + "a" * 2000))
    assert b"-ERR" in bob.got()
    assert _asks(live, live.ann, "GET " + "a" * 2000, REPLY) == REPLY


@scene("redis.max_arguments")
def _max_arguments() -> None:
    live = Live("redis")
    live.set("redis.max_arguments", 16)
    bob = live.client()
    bob.sends(command("DEL" + " a" * 30))
    assert b"-ERR" in bob.got()
    assert _asks(live, live.ann, "DEL" + " a" * 30, b":1\r\n") == b":1\r\n"
