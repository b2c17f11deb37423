"""As root, each file of system tests has a network namespace of its own: no foreign ports and TIME_WAITs.

The kernel finds a port's sockets by walking its whole table of connections, TIME_WAITs included: 7 ms
beside 130,000 of them, which is what the tests before this one (or the machine's other work) can leave
behind. In a namespace with a table of its own and a bound on TIME_WAITs a sample takes less than a
millisecond. Without the right to have one, the tests run where they are, and the sampler sees as often as
it can.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

SETTINGS = Path("/proc/sys/net/ipv4")
TABLE = 8192  # buckets of the namespace's own table of connections
MOST_TIME_WAITS = 8192

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module", autouse=True)
def namespace() -> Iterator[None]:
    """For this thread and all children that it starts from now on."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if not enter_new_namespace():
            yield
            return
        bring_loopback_up()
        (SETTINGS / "tcp_max_tw_buckets").write_text(str(MOST_TIME_WAITS))
        yield
        check(_libc.setns(home, _CLONE_NEWNET))
    finally:
        os.close(home)


def enter_new_namespace() -> bool:
    """False where that is not permitted."""
    try:
        # Since Linux 6.1: how large a table the next namespace gets. An open descriptor stays with the old
        # one.
        entries = os.open(SETTINGS / "tcp_child_ehash_entries", os.O_RDWR)
    except PermissionError:
        return False
    except FileNotFoundError:  # it shares the machine's table, and at least its own TIME_WAITs are few
        return _libc.unshare(_CLONE_NEWNET) == 0
    try:
        fcntl.flock(entries, fcntl.LOCK_EX)  # files of tests run side by side (tests/run.sh)
        before = os.pread(entries, 64, 0)
        os.pwrite(entries, str(TABLE).encode(), 0)
        try:
            check(_libc.unshare(_CLONE_NEWNET))
        finally:
            os.pwrite(entries, before, 0)
    except PermissionError:
        return False
    finally:
        os.close(entries)
    return True


def bring_loopback_up() -> None:
    with socket.socket() as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
