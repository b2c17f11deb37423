"""/proc: counters, kernel settings, and which process holds which socket. Texts are parsed apart from being
read."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

NET = Path("/proc/self/net")  # of this process's network namespace
SYS = Path("/proc/sys")
# What judging asks for -> where it is.
SETTINGS = {
    "ip_local_port_range": "net/ipv4/ip_local_port_range",
    "ip_local_reserved_ports": "net/ipv4/ip_local_reserved_ports",
    "tcp_tw_reuse": "net/ipv4/tcp_tw_reuse",
    "tcp_timestamps": "net/ipv4/tcp_timestamps",
    "tcp_max_tw_buckets": "net/ipv4/tcp_max_tw_buckets",
    "somaxconn": "net/core/somaxconn",
    "tcp_max_syn_backlog": "net/ipv4/tcp_max_syn_backlog",
    "tcp_syncookies": "net/ipv4/tcp_syncookies",
    "nf_conntrack_max": "net/netfilter/nf_conntrack_max",
    "nf_conntrack_count": "net/netfilter/nf_conntrack_count",
    "file-max": "fs/file-max",
    "file-nr": "fs/file-nr",
}
# Of the many that there are, what judging reads.
COUNTERS = (
    "Tcp.ActiveOpens",
    "Tcp.PassiveOpens",
    "Tcp.AttemptFails",
    "Tcp.CurrEstab",
    "Tcp.OutSegs",
    "Tcp.RetransSegs",
    "TcpExt.TW",
    "TcpExt.TWRecycled",
    "TcpExt.ListenOverflows",
    "TcpExt.ListenDrops",
    "TcpExt.TCPTimeWaitOverflow",
    "TcpExt.TCPReqQFullDoCookies",
    "TcpExt.TCPReqQFullDrop",
    "TcpExt.TCPSynRetrans",
    "TcpExt.TCPTimeouts",
)
_LONGEST_NAME = 60


def settings() -> dict[str, str]:
    found = {}
    for name, place in SETTINGS.items():
        try:
            found[name] = " ".join((SYS / place).read_text().split())
        except OSError:  # a module that is not loaded, a namespace that has it not
            continue
    return found


def counters() -> dict[str, int]:
    """Those that this kernel has."""
    found: dict[str, int] = {}
    for file in ("snmp", "netstat"):
        try:
            found |= table((NET / file).read_text())
        except OSError:  # a sandbox that has it not
            continue
    return {name: found[name] for name in COUNTERS if name in found}


def table(text: str) -> dict[str, int]:
    """Pairs of lines `Tcp: A B` and `Tcp: 1 2`, as `Tcp.A` and `Tcp.B`."""
    found: dict[str, int] = {}
    lines = [line.split() for line in text.splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        group = names[0].rstrip(":")
        found |= {f"{group}.{name}": int(value) for name, value in zip(names[1:], values[1:], strict=False)}
    return found


# -- who holds what ---------------------------------------------------------------------------------------


class Held(NamedTuple):
    """What was seen of one process."""

    descriptors: int
    sockets: frozenset[int]  # inodes


def held(mine: int) -> tuple[dict[int, Held], int]:
    """By pid, without `mine`; and how many processes would not be looked into. (Root may open everybody's
    folder, and without CAP_SYS_PTRACE, as in most containers, read no link in it.)"""
    found: dict[int, Held] = {}
    hidden = 0
    for pid in pids():
        if pid == mine:
            continue
        try:
            links = list(_links(pid))
        except PermissionError:
            hidden += 1
        except OSError:  # it has ended
            continue
        else:
            inodes = frozenset(int(link[8:-1]) for link in links if link.startswith("socket:["))
            found[pid] = Held(len(links), inodes)
    return found, hidden


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _links(pid: int) -> Iterator[str]:
    folder = f"/proc/{pid}/fd"
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in os.listdir(descriptor):
            try:
                yield os.readlink(name, dir_fd=descriptor)
            except FileNotFoundError:  # closed meanwhile
                yield ""
    finally:
        os.close(descriptor)


def name_of(pid: int) -> str:
    """What people call it; "" if it has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        comm = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""
    return called(words, comm)


# Their first word says nothing of what they do.
_HOSTS = ("python", "pypy", "node", "ruby", "perl", "php", "java", "bash", "sh", "dotnet", "deno", "bun")


def called(words: list[str], comm: str) -> str:
    """`python3 -m celery`, `java -jar app.jar`, `nginx`. Never more of the command line: it may tell
    secrets. A process may call itself as it likes: what would end a line, or drive a terminal, is a `?`."""
    name = _called(words, comm)[:_LONGEST_NAME]
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _called(words: list[str], comm: str) -> str:
    program = os.path.basename(words[0].split(" ")[0].rstrip(":")) if words and words[0] else comm
    if not program.startswith(_HOSTS):
        return program or comm
    rest = iter(words[1:])
    for word in rest:
        if word in ("-m", "-jar"):
            return f"{program} {word} {os.path.basename(next(rest, ''))}"
        if word in ("-c", "-e"):
            return f"{program} {word}"
        if word in ("-cp", "-classpath", "--class-path", "-W", "-X", "-r"):  # with a value of their own
            next(rest, None)
        elif word and not word.startswith("-"):
            return f"{program} {os.path.basename(word)}"
    return program


def is_told_of(pid: int, host: str) -> bool:
    """Its command line or its environment names the address: by whole words, and nothing else is read of
    them."""
    word = re.compile(rb"(?<![\w.:])" + re.escape(host.encode()) + rb"(?![\w.])")
    for file in ("cmdline", "environ"):
        try:
            if word.search(Path(f"/proc/{pid}/{file}").read_bytes()):
                return True
        except OSError:
            continue
    return False


def ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def user_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def owner_of(pid: int) -> str:
    try:
        return user_of(os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return ""


def descriptor_limit(pid: int) -> int:
    """Its soft limit; 0 if it has ended."""
    try:
        return soft_limit(Path(f"/proc/{pid}/limits").read_text())
    except OSError:
        return 0


def soft_limit(text: str) -> int:
    for line in text.splitlines():
        if line.startswith("Max open files"):
            word = line.split()[3]
            return int(word) if word.isdigit() else 0
    return 0


def other_namespaces(found: Iterable[int]) -> dict[int, int]:
    """Of networks that are not this one's: a pid in it -> how many processes are."""
    mine = _network("self")
    counts: dict[str, list[int]] = {}
    for pid in found:
        link = _network(str(pid))
        if link not in ("", mine):
            counts.setdefault(link, []).append(pid)
    return {min(inside): len(inside) for inside in counts.values()}


def is_elsewhere(pid: int) -> bool:
    """In another network: no socket of this one is its."""
    return bool(other_namespaces([pid]))


def _network(pid: str) -> str:
    """ "": it has ended, or may not be known."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {name: value - before.get(name, 0) for name, value in after.items()}
