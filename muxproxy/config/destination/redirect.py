"""The kernel's rules that lead an app's connections to a backend with `to = "original"`: nftables, as text.

Pure: a configuration in, rules out. One table, `inet muxproxy`, which is written whole or not at all:

    chain output     connections of this machine's own processes: nat, where a packet leaves
      1.  muxproxy's own are let alone, or what it dials would come back to it
      2.  for each backend: of these users or cgroups, to these places, to its listener

`redirect` leads to this machine's own loopback address, so the listener is there: 127.0.0.1, or 0.0.0.0, and
for IPv6 ::1, or ::. The first rule bears a mark by which `check` knows whether the rules are those of these
files.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from muxproxy.config.address import parse_listen
from muxproxy.config.model import Backend

TABLE: Final = "muxproxy"
RULE: Final = (
    'ports and networks, such as "6379", "7000-7010", "10.0.0.0/8", "10.0.0.0/8:6379" or "[fd00::/8]:80"'
)
CGROUP_RULE: Final = "a path below /sys/fs/cgroup, such as system.slice/app.service"
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_CGROUP = re.compile(r"[A-Za-z0-9_.@:\\-]+(?:/[A-Za-z0-9_.@:\\-]+)*")
LOOPBACK4: Final = "127.0.0.0/8"
_LOOPBACK: Final = {4: ("127.0.0.1", "0.0.0.0"), 6: ("::1", "::")}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Place:
    """Where an app connects to."""

    network: Network | None  # None: anywhere
    low: int = 0  # ports; 0: any
    high: int = 0

    def fits(self, version: int) -> bool:
        return self.network is None or self.network.version == version

    def match(self) -> str:
        words = []
        if self.network is not None:
            words.append(f"{'ip' if self.network.version == 4 else 'ip6'} daddr {self.network}")
        if self.low:
            words.append(f"tcp dport {self.low}" + (f"-{self.high}" if self.high != self.low else ""))
        else:
            words.append("meta l4proto tcp")
        return " ".join(words)


def parse_place(text: str) -> Place:
    """Raises ValueError with the rule."""
    network, ports = text, ""
    if text.startswith("["):
        network, bracket, ports = text[1:].partition("]")
        if not bracket or ":" not in network or ports[:1] not in ("", ":") or ports == ":":
            raise ValueError(RULE)
        ports = ports[1:]
    elif _PORTS.fullmatch(text):
        network, ports = "", text
    elif text.count(":") == 1:
        network, _, ports = text.partition(":")
        if not ports:
            raise ValueError(RULE)
    if not network and not ports:
        raise ValueError(RULE)
    low, high = _ports(ports) if ports else (0, 0)
    try:
        return Place(ipaddress.ip_network(network) if network else None, low, high)
    except ValueError:
        raise ValueError(RULE) from None


def _ports(text: str) -> tuple[int, int]:
    match = _PORTS.fullmatch(text)
    if match is None:
        raise ValueError(RULE)
    low = int(match[1])
    high = int(match[2] or match[1])
    if not 0 < low <= high < 65536:
        raise ValueError(f"{RULE}; ports 1 to 65535, the lower one first")
    return low, high


def parse_cgroup(text: str) -> None:
    """Raises ValueError with the rule."""
    if _CGROUP.fullmatch(text) is None or ".." in text.split("/"):
        raise ValueError(CGROUP_RULE)


# -- rules --------------------------------------------------------------------------------------------------


class Redirects:
    """Of all backends that say whose connections they want. `own`: the user ids that muxproxy runs as.
    `uid_of`: the number of a user's name; raises ValueError with the rule."""

    def __init__(self, backends: Sequence[Backend], own: Sequence[int], uid_of: Callable[[str], int]) -> None:
        self.backends = [backend for backend in backends if backend.clients.redirect]
        self._own = sorted(set(own))
        self._rules = [rule for backend in self.backends for rule in _rules(backend, uid_of)]

    def __bool__(self) -> bool:
        return bool(self.backends)

    def script(self) -> str:
        """For `nft -f`: at once, and in place of what was there."""
        return f"{removal()}{self.table()}"

    def table(self) -> str:
        own = ", ".join(map(str, self._own))
        lines = [
            f'meta skuid {{ {own} }} counter return comment "{self.mark()}"',
            *self._rules,
        ]
        body = "".join(f"        {line}\n" for line in lines)
        return (
            f"table inet {TABLE} {{\n    chain output {{\n"
            f"        type nat hook output priority -100; policy accept;\n{body}    }}\n}}\n"
        )

    def mark(self) -> str:
        text = "\n".join([*map(str, self._own), *self._rules])
        return f"muxproxy {hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def problem(self, listed: str) -> str:
        """What is wrong with the rules that `nft -j list table inet muxproxy` has printed; "": nothing."""
        try:
            entries: list[dict[str, Any]] = json.loads(listed)["nftables"]
        except (ValueError, KeyError, TypeError):
            return "nft answers what nobody can read"
        chains = [entry["chain"] for entry in entries if "chain" in entry]
        rules = [entry["rule"] for entry in entries if "rule" in entry]
        if not any(chain.get("hook") == "output" and chain.get("type") == "nat" for chain in chains):
            return f"table inet {TABLE} has no chain at hook output"
        marks = [rule.get("comment", "") for rule in rules]
        if self.mark() not in marks or len(rules) != len(self._rules) + 1:
            return f"table inet {TABLE} has other rules than these files ask for"
        return ""


def removal() -> str:
    """Of the table, whether there is one or not."""
    return f"table inet {TABLE}\ndelete table inet {TABLE}\n"


def listeners(backend: Backend, place: Place) -> list[tuple[int, int]]:
    """IP version and port to which connections to `place` can be led, at most one of each version."""
    found: dict[int, int] = {}
    for text in backend.clients.listen:
        listen = parse_listen(text)
        version = 6 if listen.is_ipv6 else 4
        if listen.kind == "tcp" and listen.host in _LOOPBACK[version] and place.fits(version):
            found.setdefault(version, listen.port)
    return sorted(found.items())


def _rules(backend: Backend, uid_of: Callable[[str], int]) -> Iterator[str]:
    clients = backend.clients
    whom = [*_users(clients.redirect_users, uid_of), *_cgroups(clients.redirect_cgroups)] or [""]
    for text in clients.redirect:
        place = parse_place(text)
        for version, port in listeners(backend, place):
            for who in whom:
                yield (
                    f"{_anywhere(place, version)}{who}{place.match()} counter redirect to :{port} "
                    f'comment "{backend.name}"'
                )


def _anywhere(place: Place, version: int) -> str:
    """Anywhere is not this machine's loopback: where is that to lead?"""
    if place.network is not None:
        return ""
    return f"ip daddr != {LOOPBACK4} " if version == 4 else "ip6 daddr != ::1 "


def _users(names: Sequence[str], uid_of: Callable[[str], int]) -> Iterator[str]:
    if names:
        yield f"meta skuid {{ {', '.join(str(uid_of(name)) for name in names)} }} "


def _cgroups(paths: Sequence[str]) -> Iterator[str]:
    """By its level in version 2's own tree, which systemd mounts at `unified` where version 1 is, too."""
    for path in paths:
        yield f'socket cgroupv2 level {path.removeprefix("unified/").count("/") + 1} "{path}" '
