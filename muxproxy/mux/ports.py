"""Ports: the only things the heart may ask of the world.

`Wire` has the method names of an asyncio transport on purpose: in a worker the wire *is* uvloop's
transport, so that a write from the heart is one C call. Tests pass a recording wire. Nothing here is
implemented in this room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Protocol as Interface

if TYPE_CHECKING:
    from muxproxy.mux.base.pool import Pool
    from muxproxy.mux.base.server import Server
    from muxproxy.mux.base.upstream import Upstream
    from muxproxy.mux.work import Working


class Wire(Interface):
    """One connected socket. All calls return at once; writes after a close are ignored."""

    def write(self, data: bytes) -> None: ...

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


class World(Interface):
    """What a pool may ask of its worker."""

    def dial(self, server: Server, upstream: Upstream) -> None:
        """Start a connect. Ends in exactly one of upstream.on_connected(wire, now) and
        upstream.on_closed(error, now); before that `hang_up` may be called, and on_closed still comes."""

    def hang_up(self, upstream: Upstream) -> None:
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

    def drained(self, pool: Pool) -> None:
        """The pool was told to drain, and its last client is gone."""

    def jitter(self) -> float:
        """A random number in [0, 1): a hundred nodes must not knock on a recovering server in one beat."""

    def log(self, event: str, *, level: str = "info", **fields: object) -> None: ...
