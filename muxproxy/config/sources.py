"""Who may connect: `[clients] from`, words and networks. Pure: whose an address is is asked.

A source is an address of a client, as the kernel tells it. Who comes through a unix socket has none: its
path's permissions say who may.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from muxproxy.config.address import Address

THIS_MACHINE = "this machine"
ANYONE = "anyone"
DEFAULT = (THIS_MACHINE,)  # where a listener is not loopback, and nothing is written
RULE = f'"{THIS_MACHINE}", "{ANYONE}", or networks, such as ["{THIS_MACHINE}", "10.0.0.0/8"]'

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read(value: object) -> tuple[str, ...]:
    """As it is written: one string or a list of them. Raises ValueError with the rule."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value:
        raise ValueError(RULE)
    for text in value:
        if not isinstance(text, str):
            raise ValueError(RULE)
        if text not in (THIS_MACHINE, ANYONE):
            _network(text)
    return tuple(value)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        why = "; it has bits behind its prefix" if "host bits" in str(error) else ""
        raise ValueError(f"{RULE}{why}") from None


class Sources:
    """What one listener's `from` comes to."""

    __slots__ = ("_machine", "_networks", "text")

    def __init__(self, words: tuple[str, ...]) -> None:
        self._machine = THIS_MACHINE in words
        self._networks = [_network(text) for text in words if text != THIS_MACHINE]
        self.text = ", ".join(words)

    def admit(self, host: str, is_own: Callable[[str], bool]) -> bool:
        """`host`: an IP address. `is_own`: is it one of this machine's?"""
        if self._networks:
            address = ipaddress.ip_address(host.partition("%")[0])
            if any(address in network for network in self._networks):
                return True
        return self._machine and is_own(host)


def of(written: tuple[str, ...], listen: Address) -> Sources | None:
    """None: whoever can connect may."""
    if listen.kind == "unix" or ANYONE in written or (not written and listen.is_local):
        return None
    return Sources(written or DEFAULT)
