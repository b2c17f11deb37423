"""Ports: the only things the heart may ask of the world, and what the world tells the heart.

`Wire` has the method names of an asyncio transport on purpose: in a worker the wire *is* uvloop's
transport, so that a write from the heart is one C call, or before a client has one, worker/visit.py's. Tests
pass a recording wire. The brains are told by the hands of a connection (worker/client.py,
worker/upstream.py). Nothing here is implemented in this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple
from typing import Protocol as Interface

from muxproxy.config.model import UpstreamTls
from muxproxy.mux.work import Working

SAID_BY_TLS: Final = "TLS: "  # so begins an error that is not the kernel's


class Secure(NamedTuple):
    """How a server is spoken to by TLS."""

    tls: UpstreamTls
    name: str  # to be checked, and asked for (SNI)
    backend: str
    protocol: str


class Wire(Interface):
    """One connected socket. All calls return at once; writes after a close are ignored."""

    def write(self, data: bytes) -> None: ...

    def writelines(self, parts: list[bytes | memoryview]) -> None:
        """Write all of them: where they are large, without a copy that joins them."""

    def write_eof(self) -> None:
        """Send FIN once everything written is out; reading goes on."""

    def close(self) -> None:
        """Send what is buffered, then close."""

    def abort(self) -> None:
        """Close at once; what is buffered is lost."""

    def is_closing(self) -> bool: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int: ...


class ClientBrain(Working):
    """What the hands of a client's connection tell. `now`: the loop's time, seconds."""

    __slots__ = ("wire",)

    wire: Wire | None  # None once it is closed

    def on_opened(self, now: float, data: bytes = b"") -> None:
        """`data`: what it has sent by now."""
        raise NotImplementedError

    def on_data(self, data: bytes, now: float) -> None:
        """Bytes from the client; `b""`: the framer holds a request that may be framed now."""
        raise NotImplementedError

    def on_eof(self, now: float) -> bool:
        """It sent FIN. True: keep the connection open for what still goes to it."""
        raise NotImplementedError

    def wants_remains(self) -> bool:
        """What it had sent before its connection broke goes on all the same. Else who has left takes back
        what nobody has done yet."""
        return False

    def is_owed(self) -> bool:
        """A reply, or what is left of a tunnel."""
        raise NotImplementedError

    def is_read_paused(self) -> bool:
        """It has said `wire.pause_reading()` last."""
        raise NotImplementedError

    def idle_since(self) -> float:
        """When it had its last reply; INF: it is owed one, has sent part of a request, or listens."""
        raise NotImplementedError

    def on_write_paused(self, now: float) -> None:
        raise NotImplementedError

    def on_write_resumed(self, now: float) -> None:
        raise NotImplementedError

    def on_closed(self, now: float) -> None:
        """The socket is gone, whoever closed it."""
        raise NotImplementedError


class UpstreamBrain(Working):
    """What the hands of an upstream connection tell."""

    __slots__ = ("wire",)

    wire: Wire | None  # None before it is open, and once it is closed

    def keepalive(self) -> tuple[float, float]:
        """Seconds of silence after which our kernel asks its peer's; and for how long that may take nothing
        of what it is sent."""
        raise NotImplementedError

    def secure(self) -> Secure | None:
        """How its server is to be spoken to; None: in plain text."""
        raise NotImplementedError

    def on_reached(self, now: float) -> None:
        """Its socket is connected; a handshake has begun, and on_connected comes behind it."""
        raise NotImplementedError

    def on_connected(self, wire: Wire, now: float) -> None:
        raise NotImplementedError

    def on_data(self, data: bytes, now: float) -> None:
        raise NotImplementedError

    def on_server_eof(self, now: float) -> bool:
        """The server sent FIN. True: keep our side open."""
        raise NotImplementedError

    def on_server_cut(self, now: float) -> bool:
        """Likewise, by TLS and without a close_notify: what ends with the connection may lack its end."""
        raise NotImplementedError

    def on_write_paused(self, now: float) -> None:
        raise NotImplementedError

    def on_write_resumed(self, now: float) -> None:
        raise NotImplementedError

    def on_breaking(self, now: float) -> None:
        """It has ended with an error and takes no more bytes. What had come before that is told next."""
        raise NotImplementedError

    def on_lost(self, error: str, now: float) -> None:
        """It has ended and takes no more bytes; its socket is not gone yet."""
        raise NotImplementedError

    def on_closed(self, error: str, now: float) -> None:
        """The socket is gone, or the connect failed. Called exactly once."""
        raise NotImplementedError


class Dialler(Interface):
    def dial(self, address: str, upstream: UpstreamBrain) -> None:
        """Start a connect. Ends in exactly one of upstream.on_connected(wire, now) and
        upstream.on_closed(error, now); before that `hang_up` may be called, and on_closed still comes."""


class World(Dialler, Interface):
    """What a pool may ask of its worker."""

    def hang_up(self, upstream: UpstreamBrain) -> None:
        """Give up a connect that `dial` started."""

    def reset(self, wire: Wire) -> None:
        """Abort so that the peer sees an error (RST): what it has got so far must not pass for a whole
        reply."""

    def write_last(self, wire: Wire, data: bytes) -> None:
        """Write what a close will follow at once: data and FIN may leave together, a packet less."""

    def finish(self, wire: Wire) -> None:
        """Nothing more will be written: if all is out, the FIN goes now and not when the loop turns again."""

    def has_left(self, wire: Wire) -> bool:
        """Has its peer closed or reset it? For one that is not read, where nothing else tells."""

    def hearing(self, wire: Wire) -> tuple[int, float]:
        """How many tries in a row (retransmissions, keep-alive probes) its peer's kernel has left unanswered;
        and, if it owes us an answer, the seconds since that kernel was heard, else 0."""

    def ask(self, wire: Wire, every: float) -> None:
        """Let our kernel ask its peer's, when it has been silent for so many seconds, and as often again."""

    def identity(self, wire: Wire) -> str:
        """Who is at its other end, as far as the kernel knows: a process (unix sockets), else an address."""

    def unsent(self, wire: Wire) -> int:
        """Bytes written that the peer has not acknowledged: the wire's buffer and the kernel's send queue."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back at the end of this turn of the event loop."""

    def postpone(self, working: Working) -> None:
        """Call working.go_on(now) in the next turn of the loop, or later if many wait for that (P10)."""

    def later(self, delay: float, callback: Callable[[], None]) -> None:
        """Call back after `delay` seconds: for a batch, never for a request."""

    def alarm(self, at: float) -> None:
        """Call tick(now) at `at` or a little later; the earliest of all alarms counts."""

    def on_share(self, pool: object) -> None:
        """A pool's report to who lends it places has changed."""

    def on_ration(self, pool: object, key: str) -> None:
        """Likewise, of one of its other numbers (base/lending/rations.py)."""

    def drained(self, pool: object) -> None:
        """A pool was told to drain, and its last client is gone; said again when its last connection is."""

    def jitter(self) -> float:
        """A random number in [0, 1): a hundred nodes must not knock on a recovering server in one beat."""

    def log(self, event: str, *, level: str = "info", **fields: object) -> None: ...
