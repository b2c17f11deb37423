"""What an operator writes in `allow`, `deny` and `[[http.routes]] host`: names, networks, ports."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from muxproxy.config.address import is_name
from muxproxy.config.destination.spelling import Address, Destination, host, literal

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

RULE = 'a name, "*.internal" or a network, such as 10.0.0.0/8; behind it perhaps a port: "[fd00::/8]:443"'
_PORT = re.compile(r"[0-9]{1,5}")


class Entry(NamedTuple):
    """One of `allow` or `deny`. `name` "*": whatever; ".internal": all names below it; "": a network."""

    text: str
    name: str
    network: Network | None
    port: int | None

    def names(self, destination: Destination) -> bool:
        name, asked = self.name, destination.host
        if not name or self.port not in (None, destination.port):
            return False
        return name in ("*", asked) or (name[0] == "." and asked.endswith(name) and not literal(asked))

    def holds(self, address: Address, port: int) -> bool:
        """An address of the other family is in no network."""
        return self.network is not None and self.port in (None, port) and address in self.network


def parse_entry(text: str) -> Entry:
    """Raises ValueError with the rule."""
    place, port = _split(text)
    if place.startswith("*"):
        name = place[1:].lower()
        if name and not (name[0] == "." and is_name(name[1:])):
            raise ValueError(f"{RULE}; a * stands alone, or before a dot")
        return Entry(text, name.removesuffix(".") or "*", None, port)
    if "/" in place or literal(place) is not None:
        return Entry(text, "", _network(place), port)
    try:
        name = host(place)
    except ValueError:
        raise ValueError(RULE) from None
    if literal(name) is not None:  # 0x7f: an operator writes addresses as everybody reads them
        raise ValueError(RULE)
    return Entry(text, name, None, port)


def parse_route_host(text: str) -> Entry:
    """Raises ValueError with the rule."""
    rule = 'a host, "*.internal" or "*"; behind it perhaps a port'
    if "/" in text:
        raise ValueError(rule)
    try:
        return parse_entry(text)
    except ValueError:
        raise ValueError(rule) from None


def _split(text: str) -> tuple[str, int | None]:
    """The place without brackets, and the port."""
    place, digits = text, ""
    if text.startswith("["):
        place, bracket, digits = text[1:].partition("]")
        if not bracket or ":" not in place or digits[:1] not in ("", ":"):
            raise ValueError(RULE)
        digits = digits[1:]
        if text.endswith(":"):
            raise ValueError(RULE)
    elif text.count(":") == 1:
        place, _, digits = text.partition(":")
        if not digits:
            raise ValueError(RULE)
    if digits and (_PORT.fullmatch(digits) is None or not 0 < int(digits) < 65536):
        raise ValueError(f"{RULE}; port 1 to 65535")
    return place, int(digits) if digits else None


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        why = "; it has bits behind its prefix" if "host bits" in str(error) else ""
        raise ValueError(f"{RULE}{why}") from None
    if network.version == 6 and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{RULE}; an IPv4 address is written as one")
    return network
