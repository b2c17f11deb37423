"""Who may go where: `[upstream] allow` and `deny`, and what nobody means who asks a proxy.

What is judged, in this order:
  deny       its names and networks are never reached
  ALWAYS     loopback, link-local, metadata of clouds ...: unless allow has a network within that very range
  listeners  muxproxy's own: unless allow has that very address and port
  allow      where it is written, what it has and nothing else
A tunnel (CONNECT) goes to port 443, and elsewhere only by an entry of allow that says so: Squid's SSL_ports.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from muxproxy.config.address import parse_listen
from muxproxy.config.destination.entries import Entry, Network, parse_entry, parse_route_host
from muxproxy.config.destination.spelling import Address, Destination, authority, literal
from muxproxy.config.model import Backend, Route

HTTP: Final = 80
HTTPS: Final = 443

# What nobody means who asks a proxy, and what opens doors: of names that an app is given by others most of
# all (SSRF). Range -> what to call it.
ALWAYS: Final[dict[Network, str]] = {
    ipaddress.ip_network(text): name
    for text, name in {
        "127.0.0.0/8": "loopback",
        "::1/128": "loopback",
        "0.0.0.0/8": "unspecified",  # Linux takes it for loopback
        "::/128": "unspecified",
        "169.254.0.0/16": "link-local",  # 169.254.169.254: metadata of AWS, Google, Azure, Oracle
        "fe80::/10": "link-local",
        "fd00:ec2::/32": "cloud metadata",  # AWS
        "fd20:ce::254/128": "cloud metadata",  # Google
        "100.100.100.200/32": "cloud metadata",  # Alibaba
        "192.0.0.192/32": "cloud metadata",  # Oracle, of old
        "168.63.129.16/32": "cloud metadata",  # Azure's wire server
        "224.0.0.0/4": "multicast",
        "ff00::/8": "multicast",
        "255.255.255.255/32": "broadcast",
    }.items()
}
# IPv6 addresses that lead to an IPv4 address -> how far behind its last 32 bits that is.
_LEADING: Final[dict[ipaddress.IPv6Network, int]] = {
    ipaddress.IPv6Network("::/96"): 0,  # IPv4-compatible, RFC 4291 section 2.5.5.1
    ipaddress.IPv6Network("::ffff:0:0/96"): 0,  # IPv4-mapped, section 2.5.5.2
    ipaddress.IPv6Network("::ffff:0:0:0/96"): 0,  # IPv4-translated, RFC 2765 section 2.1
    ipaddress.IPv6Network("64:ff9b::/96"): 0,  # NAT64, RFC 6052
    ipaddress.IPv6Network("64:ff9b:1::/48"): 0,  # NAT64 of one's own, RFC 8215
    ipaddress.IPv6Network("2002::/16"): 80,  # 6to4, RFC 3056
}
_TEREDO: Final = ipaddress.IPv6Network("2001::/32")  # RFC 4380 section 4: its last 32 bits, inverted
_ISATAP: Final = (0x00005EFE, 0x02005EFE)  # RFC 5214 section 6.1: before the last 32 bits


def _nobody(address: str) -> bool:
    return False


class Judge:
    """Of one backend, as it is configured now."""

    __slots__ = ("_allow", "_deny", "_listeners", "_networks", "_routes")

    def __init__(self, backend: Backend) -> None:
        self._allow = [parse_entry(text) for text in backend.upstream.allow]
        self._deny = [parse_entry(text) for text in backend.upstream.deny]
        self._networks = [entry for entry in self._allow if entry.network is not None]
        self._routes = [(parse_route_host(route.host), route) for route in backend.http.routes]
        places = [parse_listen(text) for text in backend.listeners]
        self._listeners = frozenset((place.host, place.port) for place in places if place.kind == "tcp")

    def named(self, host: str, *, secure: bool = False) -> Destination:
        """By a URL, or by Host: `host` or `host:port`. `secure`: https. Raises ValueError with the reason."""
        where = authority(host, port=HTTPS if secure else HTTP, tls=secure)
        entry, route = self._first(where)
        if secure or entry is None or route is None or not route.tls:
            return where
        # What has no port has its scheme's, but for a route that names one.
        return authority(host, port=entry.port or HTTPS, tls=True)

    def route(self, destination: Destination) -> Route | None:
        """The first of `[[http.routes]]` that names it. A tunnel has none: who knows what is in it?"""
        return None if destination.tunnel else self._first(destination)[1]

    def _first(self, destination: Destination) -> tuple[Entry | None, Route | None]:
        for entry, route in self._routes:
            found = literal(destination.host) if entry.network is not None else None
            if entry.names(destination) or (found is not None and entry.holds(found, destination.port)):
                return entry, route
        return None, None

    def refuses(
        self,
        destination: Destination,
        address: str = "",
        *,
        is_own: Callable[[str], bool] = _nobody,
    ) -> str:
        """Why nobody may go there; "": he may. `address`: one that the destination has and that is about to
        be dialled; without it, asked before that is known, only what is certain is refused. `is_own`: is an
        address one of this machine's?"""
        found = literal((address or destination.host).partition("%")[0])
        forms = [] if found is None else list(_forms(found))
        port = destination.port
        if address and (route := self.route(destination)) is not None and route.servers:
            return ""  # they are the operator's
        for entry in self._deny:
            if entry.names(destination) or any(entry.holds(form, port) for form in forms):
                return f'denied by "{entry.text}"'
        for form in forms:
            if why := self._never(form, port):
                return f"{found} is {why}: only a network in allow says otherwise"
        if forms and self._listens(forms[0], port, is_own):
            return f"muxproxy itself listens on port {port} of {found}"
        return self._not_allowed(destination, forms[:1])

    def _never(self, form: Address, port: int) -> str:
        """What it is that is always denied, if it is."""
        for always, name in ALWAYS.items():
            if form in always and not any(
                entry.holds(form, port) and _is_within(entry.network, always) for entry in self._networks
            ):
                return name
        return ""

    def _listens(self, address: Address, port: int, is_own: Callable[[str], bool]) -> bool:
        text = str(address)
        everywhere = "::" if address.version == 6 else "0.0.0.0"
        if (text, port) not in self._listeners and not (
            (everywhere, port) in self._listeners and (address.is_loopback or is_own(text))
        ):
            return False
        return not any(
            entry.holds(address, port) and entry.port and _is_one(entry.network) for entry in self._networks
        )

    def _not_allowed(self, destination: Destination, known: Sequence[Address]) -> str:
        port = destination.port
        elsewhere = destination.tunnel and port != HTTPS  # where an entry must name the port
        allow = [entry for entry in self._allow if entry.port is not None or not elsewhere]
        if not self._allow and not elsewhere:
            return ""
        for entry in allow:
            if entry.names(destination) or any(entry.holds(address, port) for address in known):
                return ""
        if elsewhere and not any(entry.port == port for entry in self._allow):
            return f"CONNECT to port {port}: only {HTTPS}, or where allow says so with the port"
        if not known and any(entry.network and entry.port in (None, port) for entry in allow):
            return ""  # the address will tell
        return "not in allow"


def _forms(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address that it leads to."""
    if address.version == 4:
        yield address
        return
    if address.ipv4_mapped is None:  # which is dialled as IPv4
        yield address
    number, low = int(address), 0xFFFFFFFF
    for network, shift in _LEADING.items():
        # :: and ::1 are no IPv4-compatible addresses
        if address in network and number > 1:
            yield ipaddress.IPv4Address(number >> shift & low)
    if address in _TEREDO:
        yield ipaddress.IPv4Address(~number & low)
    if number >> 32 & low in _ISATAP:
        yield ipaddress.IPv4Address(number & low)


def _is_within(network: Network | None, outer: Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return network.subnet_of(outer)
    if isinstance(network, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return network.subnet_of(outer)
    return False


def _is_one(network: Network | None) -> bool:
    return network is not None and network.prefixlen == network.max_prefixlen
