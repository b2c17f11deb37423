"""/proc/net/tcp and tcp6: the same list as text, for where sock_diag is refused (a seccomp profile, a kernel
without the module tcp_diag, gVisor).

It says less: no tcp_info, so who waits for a reply is not known, nor round trips; no bound of a listen queue;
no cookies, so that a connection from the same port to the same remote within a second is taken for the same.
And more slowly: the kernel does not filter, so every list walks past the TIME_WAITs.

Fields (Documentation/networking/proc_net_tcp.rst): number, local and remote end, state, send and receive
queue, timer and when it ends in hundredths of a second, retransmits, uid, timeout, inode.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from muxproxy.doctor.reading.sockets import Key, Lister, Socket, TimeWait
from muxproxy.sockdiag import STATES

NET = Path("/proc/self/net")  # of this process's network namespace
_FILES = ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6"))
_TIMED_OUT = ("01", "04")  # retransmission, and probes of a window that is closed
_HUNDREDTH = 10  # milliseconds
_NOT_LIVE = ("TIME_WAIT", "LISTEN", "CLOSE")


def _lines_of(*states: str) -> re.Pattern[str]:
    """Lines, from the colon behind their number on. Most may be of other states: C walks past them."""
    wanted = "|".join(f"{number:02X}" for number, name in enumerate(STATES) if name in states)
    return re.compile(rf": [^ ]+ [^ ]+ (?:{wanted}) [^\n]*")


_LIVE = _lines_of(*(name for name in STATES if name and name not in _NOT_LIVE))
_LISTENING = _lines_of("LISTEN")
# Of a TIME_WAIT: its ends, and when it ends.
_TIME_WAIT = re.compile(rf": ([^ ]+) ([^ ]+) {STATES.index('TIME_WAIT'):02X} [^ ]+ [^ ]+:([0-9A-F]+) ")


class ProcNet(Lister):
    by = "/proc/net/tcp"

    def __init__(self, refused: str, folder: Path = NET) -> None:
        self.refused = refused
        self._folder = folder

    def live(self) -> list[Socket]:
        return self._sockets(_LIVE)

    def listening(self) -> list[Socket]:
        return self._sockets(_LISTENING)

    def time_waits(self) -> Iterator[tuple[int, list[TimeWait]]]:
        for family, name in _FILES:
            yield (
                family,
                [
                    (0, *_ends(local, remote), _cookie(local, remote), int(left, 16) * _HUNDREDTH)
                    for local, remote, left in _TIME_WAIT.findall(self._text(name))
                ],
            )

    def _sockets(self, lines: re.Pattern[str]) -> list[Socket]:
        return [
            _socket(family, line.split())
            for family, name in _FILES
            for line in lines.findall(self._text(name))
        ]

    def _text(self, name: str) -> str:
        try:
            return (self._folder / name).read_text()
        except FileNotFoundError:
            if name == "tcp":
                raise
            return ""  # a kernel without IPv6


def _socket(family: int, words: list[str]) -> Socket:
    _, local, remote, state, queues, timer, tries, uid, _, inode, *_ = words
    port, key = _ends(local, remote)
    to_send, _, to_read = queues.partition(":")
    name = STATES[int(state, 16)]
    return Socket(
        name,
        family,
        int.from_bytes(port, "big"),
        key,
        _cookie(local, remote),
        queue=int(to_read, 16),
        backlog=0 if name == "LISTEN" else int(to_send, 16),
        uid=int(uid),
        inode=int(inode),
        is_unanswered=int(tries, 16) > 0 and timer.partition(":")[0] in _TIMED_OUT,
    )


def _cookie(local: str, remote: str) -> int:
    return hash(local + remote)


def _ends(local: str, remote: str) -> tuple[bytes, Key]:
    """As netlink has them: the local port, and the key."""
    return bytes.fromhex(local[-4:]), _key(local[:-5], remote)


@lru_cache(4096)
def _key(source: str, remote: str) -> Key:
    return bytes.fromhex(remote[-4:]) + _address(source) + _address(remote[:-5])


def _address(word: str) -> bytes:
    """Each 32 bits are printed as this machine's number."""
    raw = bytes.fromhex(word)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return raw.ljust(16, b"\0")
