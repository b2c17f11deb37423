"""There is one spelling of a host: lower case, no dot at the end, an IP address as ipaddress writes it.

What getaddrinfo would read as an IPv4 address (decimal, octal, hexadecimal, fewer than four numbers) becomes
that address, an IPv4 address in IPv6 clothes that the kernel dials as IPv4 becomes IPv4, and what is neither
an address nor a name is refused: percent signs, blanks, users and passwords.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from muxproxy.config.address import is_name

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PORT = re.compile(r"[0-9]{1,5}")
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]+|[0-9]+")  # strtoul's, in base 0
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^\[\]:]*)(?::([0-9]*))?")


class Destination(NamedTuple):
    """As `host()` spells it; IPv6 without brackets."""

    host: str
    port: int
    tls: bool = False
    # Its connections carry bytes of which nothing is known (CONNECT), so they are no others'.
    tunnel: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def host(text: str) -> str:
    """The one spelling. IPv6 without brackets. Raises ValueError with the reason."""
    plain = text.removesuffix(".").lower()
    if ":" in plain:
        return _usual(_address(plain))
    if not plain or not plain.isascii():
        raise ValueError("neither an IP address nor a host name")
    last = plain.rpartition(".")[2]
    # WHATWG's URL standard, "ends in a number checker"; RFC 1123 section 2.1: no name does.
    if last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last):
        return _aton(plain)
    if not is_name(plain):
        raise ValueError("neither an IP address nor a host name")
    return plain


def authority(text: str, *, port: int = 0, tls: bool = False) -> Destination:
    """`host[:port]` of a URL or of Host. `port`: where none stands there; 0: one must. Raises ValueError with
    the reason."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise ValueError("not a host and a port")
    name, digits = match.groups()
    if name.startswith("["):
        name = name[1:-1]
        if ":" not in name:
            raise ValueError("between brackets stands an IPv6 address")
    number = int(digits) if digits and _PORT.fullmatch(digits) else 0 if digits else port
    if not 0 < number < 65536:
        raise ValueError("port 1 to 65535")
    return Destination(host(name), number, tls)


def _aton(text: str) -> str:
    """As inet_aton(3), which getaddrinfo asks first: 127.1, 0x7f000001, 017700000001, 2130706433."""
    parts = text.split(".")
    if len(parts) > 4 or any(_NUMBER.fullmatch(part) is None for part in parts):
        raise ValueError("neither an IPv4 address nor a host name, which does not end in a number")
    try:
        *heads, tail = [int(part, 16 if part[:2] == "0x" else 8 if part[0] == "0" else 10) for part in parts]
    except ValueError:  # 08
        raise ValueError("neither an IPv4 address nor an octal number") from None
    if any(head > 255 for head in heads) or tail >= 256 ** (4 - len(heads)):
        raise ValueError("beyond an IPv4 address")
    for index, head in enumerate(heads):
        tail += head << (8 * (3 - index))
    return str(ipaddress.IPv4Address(tail))


def _address(text: str) -> Address:
    if "%" in text:
        raise ValueError("an address with a zone, which is this machine's own affair")  # RFC 6874
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("not an IP address") from None


def _usual(address: Address) -> str:
    """An IPv4-mapped one is dialled as IPv4."""
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(address if mapped is None else mapped)


def literal(text: str) -> Address | None:
    """The address that it spells, if it does."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
