"""What is kept of root's rights once the sockets are bound: nearly nothing, and nothing in workers.

    the supervisor   CAP_NET_BIND_SERVICE; if workers are another user's, what it takes to make and kill those
    workers          none: exec'ed with an empty bounding set; or as `user` of muxproxy.toml
    a successor      as workers; where they are another user's, what the supervisor has: it has to make some

No program that is exec'ed can gain any (no_new_privs, and nothing in the ambient and inheritable sets), so
the same holds for a supervisor that was given a capability by systemd's AmbientCapabilities.

Where `user` is set the bounding set keeps what the supervisor has. Then what root execs (a successor) has
that again, and with no_new_privs never more (capabilities(7), "Capabilities and execution of programs by
root"); what anybody else execs has none. To whoever owns the supervisor that is nothing new: he has these
rights already, and root's uid. Rejected: a second process that keeps all of root's, as nginx's and HAProxy's
masters do, and ambient capabilities for the successor alone, who would run without root's files.
"""

from __future__ import annotations

import ctypes
import errno
import os

# linux/capability.h
_KILL, _SETGID, _SETUID, _SETPCAP, _NET_BIND_SERVICE = 5, 6, 7, 8, 10
_VERSION_3 = 0x20080522
# linux/prctl.h
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
_MOST = 64  # capabilities that two words can say

_Words = ctypes.c_uint32 * 6  # effective, permitted and inheritable, of capabilities 0 to 31 and 32 to 63


def drop(*, other_user: bool) -> None:
    """Once, by the thread that spawns workers, after bind(). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    permitted = _permitted(libc)
    kept = 1 << _NET_BIND_SERVICE
    if other_user:
        needed = 1 << _SETUID | 1 << _SETGID | 1 << _KILL
        if permitted & needed != needed:  # root in a container without them: found out now, and not at 3 am
            raise PermissionError(errno.EPERM, "user takes CAP_SETUID, CAP_SETGID and CAP_KILL")
        kept |= needed
    if permitted >> _SETPCAP & 1:
        for capability in range(_MOST):
            if other_user and kept >> capability & 1:
                continue
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                _check(
                    ctypes.get_errno(), "PR_CAPBSET_DROP", but=errno.EINVAL
                )  # the kernel has no more of them
                break
    if libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0:
        _check(ctypes.get_errno(), "PR_CAP_AMBIENT", but=errno.EINVAL)  # before Linux 4.3 there are none
    _set(libc, permitted & kept)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        _check(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")


def _permitted(libc: ctypes.CDLL) -> int:
    words = _Words()
    if libc.capget(_header(), words) != 0:
        _check(ctypes.get_errno(), "capget")
    return words[1] | words[4] << 32


def _set(libc: ctypes.CDLL, kept: int) -> None:
    low, high = kept & 0xFFFFFFFF, kept >> 32
    if libc.capset(_header(), _Words(low, low, 0, high, high, 0)) != 0:
        _check(ctypes.get_errno(), "capset")


def _header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(_VERSION_3, 0)  # 0: this thread


def _check(number: int, what: str, but: int = 0) -> None:
    if number != but:
        raise OSError(number, f"{what}: {os.strerror(number)}")
