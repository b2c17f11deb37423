"""/proc/net/tcp and tcp6: the same list as text, for where sock_diag is refused (a seccomp profile, a kernel
without the module tcp_diag, gVisor).

It says less: no tcp_info, so who waits for a reply is not known, nor round trips; no bound of a listen queue;
no cookies, so that a connection from the same port to the same remote within a second is taken for the same.
And more slowly: the kernel does not filter, so every list walks past the TIME_WAITs.

Fields (Documentation/networking/proc_net_tcp.rst): number, local and remote end, state, send and receive
queue, timer and when it ends in hundredths of a second, retransmits, uid, timeout, inode.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from muxproxy.doctor.reading.sockets import Lister, Socket, TimeWait
from muxproxy.sockdiag import STATES

NET = Path("/proc/self/net")  # of this process's network namespace
_FILES = ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6"))
_TIME_WAIT, _LISTEN, _CLOSE = (f"{STATES.index(name):02X}" for name in ("TIME_WAIT", "LISTEN", "CLOSE"))
_TIMED_OUT = ("01", "04")  # retransmission, and probes of a window that is closed
_HUNDREDTH = 10  # milliseconds


class ProcNet(Lister):
    by = "/proc/net/tcp"

    def __init__(self, refused: str, folder: Path = NET) -> None:
        self.refused = refused
        self._folder = folder

    def live(self) -> list[Socket]:
        return self._sockets(lambda state: state not in (_TIME_WAIT, _LISTEN, _CLOSE))

    def listening(self) -> list[Socket]:
        return self._sockets(lambda state: state == _LISTEN)

    def time_waits(self) -> Iterator[tuple[int, list[TimeWait]]]:
        for family, name in _FILES:
            lines = self._lines(name, lambda state: state == _TIME_WAIT)
            yield family, [_time_wait(line.split()) for line in lines]

    def _sockets(self, is_wanted: Callable[[str], bool]) -> list[Socket]:
        return [
            _socket(family, line.split()) for family, name in _FILES for line in self._lines(name, is_wanted)
        ]

    def _lines(self, name: str, is_wanted: Callable[[str], bool]) -> Iterator[str]:
        try:
            text = (self._folder / name).read_text()
        except FileNotFoundError:
            if name == "tcp":
                raise
            return  # a kernel without IPv6
        for line in text.splitlines()[1:]:
            state = line.split(None, 4)[3]  # no more of it than that: most may be TIME_WAITs
            if is_wanted(state):
                yield line


def _time_wait(words: list[str]) -> TimeWait:
    port, key = _ends(words)
    return 0, port, key, _cookie(port, key), int(words[5].partition(":")[2], 16) * _HUNDREDTH


def _socket(family: int, words: list[str]) -> Socket:
    port, key = _ends(words)
    to_send, _, to_read = words[4].partition(":")
    timer = words[5].partition(":")[0]
    name = STATES[int(words[3], 16)]
    return Socket(
        name,
        family,
        int.from_bytes(port, "big"),
        key,
        _cookie(port, key),
        queue=int(to_read, 16),
        backlog=0 if name == "LISTEN" else int(to_send, 16),
        uid=int(words[7]),
        inode=int(words[9]),
        is_unanswered=int(words[6], 16) > 0 and timer in _TIMED_OUT,
    )


def _ends(words: list[str]) -> tuple[bytes, bytes]:
    """As netlink has them: the local port, and the key."""
    (source, port), (host, remote) = (_end(word) for word in words[1:3])
    return port, remote + source + host


def _end(word: str) -> tuple[bytes, bytes]:
    """Of an address each 32 bits are printed as this machine's number."""
    address, _, port = word.partition(":")
    raw = bytes.fromhex(address)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return raw.ljust(16, b"\0"), bytes.fromhex(port)


def _cookie(port: bytes, key: bytes) -> int:
    return hash(port + key)
