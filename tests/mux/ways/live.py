"""A live pool with a client and a connection from before, for which one key after the other changes.

    live = Live(queue__max_waiting=0)
    live.set("queue.max_waiting", 1)

`set` does what a reload does, notes in which way config/ways.py says that it takes effect, and sees to it
that client and connection are still there, and serve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from muxproxy.config import ways
from muxproxy.config.model import Backend
from muxproxy.config.plan import plan, values
from muxproxy.config.ways import Way
from muxproxy.protocols import build
from muxproxy.protocols.contract import Protocol
from tests.config import models
from tests.fakes import Peer, Stage
from tests.protocols.dubbo.feeding import CALL, REPLY, frame, invocation
from tests.protocols.redis.talk import command

Scene = Callable[[], None]
SCENES: dict[str, Scene] = {}

GET, OK = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
# What a client asks, what a server says to that, and what it gets besides when it has just connected.
WORDS: dict[str, tuple[bytes, bytes]] = {
    "http": (GET, OK),
    "redis": (command("GET a"), b"$1\r\na\r\n"),
    "dubbo": (frame(CALL, 1, invocation("s", "m")), frame(REPLY, 1, b"\x94", 20)),
    "toy": (b"a\n", b"a\n"),
}
NAME = command("CLIENT SETNAME live")


def scene(*keys: str) -> Callable[[Scene], Scene]:
    def add(function: Scene) -> Scene:
        for key in keys:
            assert key not in SCENES
            SCENES[key] = function
        return function

    return add


class Live:
    seen: ClassVar[dict[str, set[Way]]] = {}

    def __init__(self, protocol: str = "http", toy: Protocol | None = None, **written: Any) -> None:
        """`written`: keys of the configuration, `queue__timeout=1.0`."""
        written = {"upstream__max_connections": 2, "upstream__servers": ("one:1",)} | written
        self.name = "toy" if toy is not None else protocol
        self.config: Backend = models.backend("live", protocol, **written)
        self.stage = Stage(
            toy or build(self.config), servers=self.config.upstream.servers, config=self.config
        )
        self.asks, self.replies = WORDS.get(self.name, (b"hello", b"hi"))
        self.ann = self.stage.client()
        self.ann.sends(self.asks)
        self.server = self.connects()
        self._serve()

    def connects(self, more: bytes = b"") -> Peer:
        """The next connect succeeds; `more`: of a greeting, before our name."""
        server = self.stage.connects()
        if self.name == "redis":
            assert server.got() == more + NAME
            server.sends(b"+OK\r\n" * (2 if more else 1))
        return server

    def client(self, data: bytes = b"") -> Peer:
        return self.stage.asks(data) if data else self.stage.client()

    def _serve(self) -> None:
        assert self.server.got().endswith(self.asks[12:])  # behind an id that is ours
        reply = self.replies
        if self.name == "dubbo":
            reply = frame(REPLY, self.server.wire.brain._slots.given, b"\x94", 20)
        self.server.sends(reply)
        assert self.ann.got() == self.replies

    def is_served(self) -> None:
        """The client from before is, on the connection from before."""
        if self.name != "tcp":
            self.ann.sends(self.asks)
            self._serve()
            return
        self.ann.sends(b"more")
        assert self.server.got() == b"more"

    def set(self, key: str, value: object, *, serves: bool = True) -> None:
        """`serves`: the connection owes nothing, and may stay."""
        old = dict(values(self.config))[key]
        self.seen.setdefault(key, set()).add(ways.way(ways.BACKEND[key], old, value))
        assert old != value
        was_open = self.ann.is_open, self.server.is_open
        self.config = self.stage.config = models.with_keys(self.config, {key: value})
        with self.stage.turn():
            self.stage.pool.configure(self.config, self.stage.world.now)
        assert self.ann.is_open is was_open[0]
        if serves:
            assert self.server.is_open
            self.is_served()

    @property
    def outcomes(self) -> dict[str, int]:
        return self.stage.outcomes()


def as_new(key: str, old: object, new: object) -> None:
    """Nothing is changed in place: what there is drains, another begins."""
    before = models.with_keys(models.backend("live"), {key: old})
    after = models.with_keys(before, {key: new})
    what = plan(models.config(before), models.config(after))
    assert (what.removed, what.added, what.changed) == ((before,), (after,), ())
    Live.seen.setdefault(key, set()).add(Way.AS_NEW)
