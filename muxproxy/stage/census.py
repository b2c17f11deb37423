"""How many TCP sockets of a port there are, by state, as the kernel counts them.

Ten times a second beside 28,000 TIME_WAITs: so only states are read, a datagram at a time where all of its
messages are as long as the first.
"""

from __future__ import annotations

import socket
from collections import Counter

from muxproxy.sockdiag import AT_STATE, BIT, STATES, SockDiag, is_socket, messages, uniform

_TIME_WAIT = BIT["TIME_WAIT"]
_OTHERS = sum(BIT.values()) - _TIME_WAIT - BIT["LISTEN"] - BIT["CLOSE"]


class Census:
    """In the namespace in which it was made."""

    def __init__(self) -> None:
        self._kernel = SockDiag()

    def close(self) -> None:
        self._kernel.close()

    def count(self, *, source: int = 0, destination: int = 0) -> dict[str, int]:
        """Of these ports, 0 for any; IPv4. TIME_WAITs apart: what is in one dump is then of one length."""
        counts: Counter[int] = Counter()
        for states in (_TIME_WAIT, _OTHERS):
            for data in self._kernel.dump(socket.AF_INET, states, source=source, destination=destination):
                counts.update(states_of(data))
        return {STATES[number]: count for number, count in counts.items()}


def states_of(data: bytes) -> bytes:
    """Of each socket in a datagram, its state."""
    if size := uniform(data):
        return data[AT_STATE::size] if is_socket(data, 0) else b""
    return bytes(data[at + AT_STATE] for at, _ in messages(data) if is_socket(data, at))
