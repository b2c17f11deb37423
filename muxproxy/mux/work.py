"""How much work one connection may make in a turn of the loop; then the others are served (P10).

A framer stops after so many frames and lines of one feed (contract.FRAMES, LINES) and says that there is
`more`; here are the bytes, and what follows: its socket is not read, and the world calls `go_on` in the next
turn, one connection after the other. What is held back so is not silence of the peer.

A chunk below LARGE has emptied its socket: nothing more of it is read in that turn, so it need not be
counted.

Operators see how often frames were too many (events client_turns_over_budget, server_turns_over_budget).
"""

from __future__ import annotations

from typing import Final

from muxproxy.mux.deadlines import Timed
from muxproxy.native import mypyc_attr

LARGE: Final = 64 * 1024
# Bytes that one connection may bring in a turn: libuv would read 32 chunks of 256 kB before it looks at the
# next.
BYTES: Final = 1024 * 1024


@mypyc_attr(allow_interpreted_subclasses=True)
class Working(Timed):
    """What Patience (a client) and Upstream have in common: work that may have to wait."""

    __slots__ = ("_taken", "busy")

    def __init__(self) -> None:
        self.busy = False  # it waits for its next turn, and is not read
        self._taken = 0  # bytes of LARGE chunks since its last turn

    def take(self, size: int) -> None:
        """A LARGE chunk has come. Whether those before it came in this very turn nobody tells: who has not
        had so much in one goes on a turn later once for nothing, which is less than such a chunk costs."""
        self._taken += size
        if self._taken >= BYTES:
            self.postpone()

    def postpone(self) -> None:
        """Not to be read, and `go_on` in the next turn."""
        raise NotImplementedError

    def go_on(self, now: float) -> None:
        """Its next turn has come."""
        raise NotImplementedError

    def on_bug(self, now: float) -> None:
        """Ours: go_on raised, or on_deadline."""
        raise NotImplementedError
