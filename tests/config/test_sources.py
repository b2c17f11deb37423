"""`[clients] from`: who may connect."""

from __future__ import annotations

import pytest

from muxproxy.config import sources
from muxproxy.config.address import parse_listen

LOOPBACK, NETWORK, UNIX = parse_listen("127.0.0.1:80"), parse_listen("0.0.0.0:80"), parse_listen("unix:/x")


def own(host: str) -> bool:
    return host in ("10.0.0.5", "fe80::5", "127.0.0.1")


@pytest.mark.parametrize(
    ("written", "admitted", "refused"),
    [
        ((), ["10.0.0.5", "fe80::5"], ["10.0.0.6", "fe80::6"]),
        (("this machine",), ["10.0.0.5"], ["10.0.0.6"]),
        (("this machine", "10.0.0.0/30"), ["10.0.0.5", "10.0.0.3"], ["10.0.0.4", "::1"]),
        (("10.0.0.0/30", "fe80::/64"), ["10.0.0.3", "fe80::6%eth0", "fe80::5"], ["10.0.0.5"]),
        (("192.0.2.1",), ["192.0.2.1"], ["192.0.2.2", "10.0.0.5"]),
    ],
)
def test_who_may_connect_where_others_can(
    written: tuple[str, ...], admitted: list[str], refused: list[str]
) -> None:
    found = sources.of(written, NETWORK)
    assert found is not None
    assert [host for host in admitted if not found.admit(host, own)] == []
    assert [host for host in refused if found.admit(host, own)] == []


def test_where_nobody_else_can_connect_nobody_is_asked_unless_it_is_written() -> None:
    assert sources.of((), LOOPBACK) is None
    assert sources.of((), UNIX) is None
    assert sources.of(("10.0.0.0/8",), UNIX) is None
    assert sources.of(("anyone",), NETWORK) is None
    assert sources.of(("10.0.0.0/8",), LOOPBACK) is not None  # what a rule of the firewall brings there


@pytest.mark.parametrize("value", ["this machine", ["this machine"], ["anyone"], ["10.0.0.0/8", "::1"]])
def test_what_may_be_written(value: object) -> None:
    assert sources.read(value) == ((value,) if isinstance(value, str) else tuple(value))


@pytest.mark.parametrize("value", [[], 5, "localhost", ["this  machine"], [5], "10.0.0.1/8", True])
def test_what_may_not(value: object) -> None:
    with pytest.raises(ValueError, match=r'"this machine", "anyone", or networks'):
        sources.read(value)
