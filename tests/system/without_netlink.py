"""`without_netlink.py COMMAND...`: COMMAND, which is refused every netlink socket (EPERM), as by the seccomp
profile of a container.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

PREFIX = (sys.executable, "-P", str(Path(__file__).resolve()))
_SOCKET = {"x86_64": 41, "aarch64": 198}  # the number of socket(2)
_NETLINK = 16
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM
_LOAD, _IS, _RETURN = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
_NUMBER, _FIRST = 0, 16  # where struct seccomp_data has the call's number, and its first argument


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse() -> None:
    """From now on, here and in whom we start or become."""
    lines = (
        (_LOAD, 0, 0, _NUMBER),
        (_IS, 0, 3, _SOCKET[platform.machine()]),
        (_LOAD, 0, 0, _FIRST),
        (_IS, 0, 1, _NETLINK),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    )
    program = _Program(len(lines), b"".join(struct.pack("=HBBI", *line) for line in lines))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    refuse()
    os.execvp(sys.argv[1], sys.argv[1:])
