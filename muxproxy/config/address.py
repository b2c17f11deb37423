"""Addresses as configured: `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`; for servers names too.

Pure: nothing is resolved or opened here. A place to listen is always a literal address: a name may have two
of them (`localhost` is 127.0.0.1 and ::1) or another tomorrow, and an operator must be able to say which
sockets there are. Whoever binds `[::]` sets IPV6_V6ONLY: here it stands for all of IPv6 and nothing else.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from typing import Literal

from muxproxy.config.model import Node

UNIX_PATH_MAX = 107  # bytes; sun_path of Linux is 108 with its final NUL

# RFC 1123 section 2.1, and the underscore that container platforms put into names.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_PORT = re.compile(r"[0-9]{1,5}")

TLS = "tls:"
SYSTEM_SOCKET = "/run/muxproxy/admin.sock"


@dataclass(frozen=True, slots=True)
class Address:
    kind: Literal["tcp", "unix"]
    host: str = ""  # tcp: an IP address without brackets, or a server's name
    port: int = 0  # tcp; to listen on 0 lets the kernel choose
    path: str = ""  # unix
    # To listen, by TLS. What is spoken at a place does not make it another one.
    tls: bool = field(default=False, compare=False)

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    @property
    def is_name(self) -> bool:
        """A host that has to be resolved."""
        return self.kind == "tcp" and not _is_ip(self.host)

    @property
    def is_local(self) -> bool:
        """To listen here is to be reachable from this machine only."""
        return self.kind == "unix" or (_is_ip(self.host) and ipaddress.ip_address(self.host).is_loopback)

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


def usual(text: str) -> str:
    """The one spelling of a place to listen, whatever a file says: `[0::1]:80` is `[::1]:80`."""
    return str(parse_listen(text))


def parse_listen(text: str) -> Address:
    """Raises ValueError with the rule. `tls:` before an address: by TLS ([clients.tls])."""
    if text.startswith(TLS):
        return replace(parse_listen(text.removeprefix(TLS)), tls=True)
    if text.startswith("unix:"):
        return Address("unix", path=parse_unix_path(text[5:]))
    example = "such as 127.0.0.1:8080, [::1]:8080 or unix:/run/app.sock"
    host, port = _split(text, f"an address and a port, {example}")
    if host in ("", "*"):
        raise ValueError(
            f"say which address: 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} for every network"
        )
    if not _is_ip(host):
        raise ValueError(f"an IP address, not a name: {example}")
    return Address("tcp", host=_canonical(host), port=port)


def parse_listen_tcp(text: str) -> Address:
    """Raises ValueError with the rule."""
    address = parse_listen(text)
    if address.kind != "tcp" or address.tls:
        raise ValueError("an IP address and a port, such as 127.0.0.1:9180")
    return address


def parse_server(text: str) -> Address:
    """Raises ValueError with the rule."""
    if text.startswith("unix:"):
        return Address("unix", path=parse_unix_path(text[5:]))
    rule = "a host and a port, such as 10.0.0.5:80, api.internal:80, [fd00::5]:80 or unix:/run/app.sock"
    if "@" in text:  # which the rule does not repeat: it is a password
        raise ValueError(f"{rule}; without user and password, for which there are other keys")
    if "://" in text:
        raise ValueError(f"{rule}; without the scheme")
    host, port = _split(text, rule)
    if port == 0:
        raise ValueError(f"{rule}; port 1 to 65535")
    if _is_ip(host):
        return Address("tcp", host=_canonical(host), port=port)
    if not is_name(host):
        raise ValueError(f"{rule}; before the port stands neither an IP address nor a host name")
    return Address("tcp", host=host.lower(), port=port)


def parse_unix_path(path: str) -> str:
    """Raises ValueError with the rule."""
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ValueError("the path of a unix socket is absolute, such as /run/muxproxy/app.sock")
    if (size := len(path.encode())) > UNIX_PATH_MAX:
        raise ValueError(f"the path of a unix socket has at most {UNIX_PATH_MAX} bytes, this one has {size}")
    return path


def overlap(one: Address, other: Address) -> bool:
    """Both cannot be listened on: the same place, or the same port once on every address of the family."""
    if one.kind != other.kind or one.kind == "unix":
        return one == other
    if one.port == 0 or one.port != other.port or one.is_ipv6 != other.is_ipv6:
        return False
    return one.host == other.host or any(ipaddress.ip_address(a.host).is_unspecified for a in (one, other))


def admin_socket(node: Node, uid: int, runtime_dir: str | None, service_dir: str | None = None) -> str:
    """Where `run` listens for operators and `status` asks.

    `runtime_dir` is $XDG_RUNTIME_DIR; `service_dir` is $RUNTIME_DIRECTORY, which systemd sets for a unit with
    RuntimeDirectory=muxproxy, so that a service without root's rights is found where root's would be.
    """
    if node.admin:
        return node.admin
    if service_dir:
        return f"{service_dir.split(':')[0]}/admin.sock"
    if uid == 0:
        return SYSTEM_SOCKET
    return f"{runtime_dir}/muxproxy/admin.sock" if runtime_dir else f"/tmp/muxproxy-{uid}/admin.sock"


def _split(text: str, rule: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or _PORT.fullmatch(port) is None:
        raise ValueError(rule)
    if int(port) > 65535:
        raise ValueError(f"{rule}; port 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host or not _is_ip(host):
            raise ValueError(f"{rule}; between brackets stands an IPv6 address")
    elif ":" in host:
        raise ValueError(f"{rule}; an IPv6 address stands in brackets")
    return host, int(port)


def is_host(text: str) -> bool:
    """A name or an IP address."""
    return _is_ip(text) or is_name(text)


def _is_ip(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # An IPv4 address in IPv6 clothes cannot be bound with IPV6_V6ONLY: it is written as IPv4.
    return not (address.version == 6 and address.ipv4_mapped is not None)


def _canonical(host: str) -> str:
    """One spelling per address, so that equal addresses are equal strings."""
    return str(ipaddress.ip_address(host))


def is_name(host: str) -> bool:
    """What ends in a number is an IPv4 address or a mistyped one (RFC 1123 section 2.1), never a name."""
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(_LABEL.fullmatch(x) for x in labels) and not labels[-1].isdigit()
