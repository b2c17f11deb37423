"""Who may go where is judged by the address, whatever it looks like and whoever it belongs to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config.destination import Destination, Judge, authority
from muxproxy.config.destination.spelling import host
from muxproxy.config.model import Route
from tests.config import models


def judge(
    *, allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), listeners: tuple[str, ...] = ()
) -> Judge:
    keys = {"upstream__to": "host", "upstream__allow": allow, "upstream__deny": deny}
    return Judge(models.backend(**keys, listeners=listeners))


EXAMPLE = Destination("api.example.com", 80)
NEVER = [
    "127.0.0.1",
    "127.8.9.10",
    "::1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "169.254.169.254",
    "fe80::1",
    "fd00:ec2::254",
    "224.0.0.1",
    "255.255.255.255",
    "ff02::1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    # what leads to 127.0.0.1 or 169.254.169.254
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::",
    "2001:0:1:2:3:4:80ff:fffe",
    "fd00::5efe:7f00:1",
    "2001:db8::200:5efe:7f00:1",
    "fe80::1%eth0",
]


@pytest.mark.parametrize("address", NEVER)
def test_nobody_is_led_to_this_machine_or_to_a_clouds_metadata(address: str) -> None:
    """The address decides, when it is dialled: the name was as good as any (issue 12, "must be shown" 5)."""
    for allow in ((), ("*",), ("api.example.com",), ("0.0.0.0/0", "::/0"), ("0.0.0.0/0", "10.0.0.0/8")):
        mine = judge(allow=allow)
        assert "only a network in allow says otherwise" in mine.refuses(EXAMPLE, address), allow
        if "%" not in address:
            assert mine.refuses(Destination(host(address), 80)), "nor by the address itself"


@pytest.mark.parametrize(
    "address", ["10.0.0.5", "93.184.216.34", "fd00::5", "2606:2800::1", "64:ff9b::a00:5"]
)
def test_all_others_may_be_reached_without_a_word(address: str) -> None:
    assert judge().refuses(EXAMPLE) == judge().refuses(EXAMPLE, address) == ""


def test_what_is_always_denied_takes_a_network_within_its_range() -> None:
    mine = judge(allow=("127.0.0.0/8:8080", "169.254.7.7", "api.example.com"))
    assert mine.refuses(Destination("localhost", 8080), "127.0.0.1") == ""
    assert mine.refuses(Destination("127.0.0.1", 8080)) == ""
    assert mine.refuses(Destination("169.254.7.7", 80)) == ""
    assert mine.refuses(EXAMPLE, "10.0.0.5") == ""
    for refused in ("127.0.0.1", "169.254.169.254", "::1"):
        assert "says otherwise" in mine.refuses(Destination(refused, 80))
    assert "says otherwise" in mine.refuses(Destination("localhost", 8080), "::1")


def test_deny_holds_whatever_allow_says_for_names_and_for_every_address_that_a_name_has() -> None:
    mine = judge(deny=("*.secret.internal", "10.1.0.0/16", "*:25", "db.internal:5432"), allow=("*",))
    assert mine.refuses(Destination("a.secret.internal", 80)) == 'denied by "*.secret.internal"'
    assert mine.refuses(Destination("secret.internal", 80)) == "", "below it, not it"
    assert mine.refuses(EXAMPLE, "10.1.2.3") == 'denied by "10.1.0.0/16"'
    assert mine.refuses(EXAMPLE, "64:ff9b::a01:203") == 'denied by "10.1.0.0/16"', "by NAT64"
    assert mine.refuses(EXAMPLE, "10.2.2.3") == ""
    assert mine.refuses(Destination("api.example.com", 25)) == 'denied by "*:25"'
    assert [bool(mine.refuses(Destination("db.internal", port))) for port in (80, 5432)] == [False, True]


def test_where_allow_is_written_there_is_nothing_else() -> None:
    mine = judge(allow=("*.internal", "api.example.com:443", "10.0.0.0/8"))
    assert mine.refuses(Destination("a.b.internal", 80), "93.184.216.34") == ""
    assert mine.refuses(Destination("internal", 80), "93.184.216.34") == "not in allow"
    assert mine.refuses(Destination("xinternal", 80), "93.184.216.34") == "not in allow"
    assert mine.refuses(EXAMPLE) == "", "its address may be in 10.0.0.0/8"
    assert mine.refuses(EXAMPLE, "10.0.0.5") == ""
    assert mine.refuses(EXAMPLE, "93.184.216.34") == "not in allow"
    assert mine.refuses(EXAMPLE._replace(port=443), "93.184.216.34") == ""
    assert judge(allow=("*.internal",)).refuses(EXAMPLE) == "not in allow", "known at once"


@pytest.mark.parametrize(
    ("allow", "destination", "may"),
    [
        ((), "a:443", True),
        ((), "a:22", False),
        ((), "a:80", False),
        (("*",), "a:443", True),
        (("*",), "a:22", False),
        (("*", "*:22"), "a:22", True),
        (("*", "b:22"), "a:22", False),
        (("*", "b:22"), "b:22", True),
        (("b:22",), "a:443", False),
        (("10.0.0.0/8",), "10.0.0.5:22", False),
        (("10.0.0.0/8:22",), "10.0.0.5:22", True),
        (("10.0.0.0/8:22",), "a:22", True),  # its address will tell
        (("10.0.0.0/8:22", "192.168.0.0/16"), "a:22", True),
        (("10.0.0.0/8",), "a:443", True),
    ],
)
def test_a_tunnel_goes_to_443_or_where_allow_has_the_port(
    allow: tuple[str, ...], destination: str, may: bool
) -> None:
    asked = authority(destination)._replace(tunnel=True)
    assert (judge(allow=allow).refuses(asked) == "") is may


def test_where_a_tunnel_goes_is_judged_when_its_address_is_dialled_too() -> None:
    mine, asked = judge(allow=("10.0.0.0/8:22", "192.168.0.0/16")), authority("a:22")._replace(tunnel=True)
    assert mine.refuses(asked, "10.0.0.5") == ""
    assert mine.refuses(asked, "192.168.0.5") == "not in allow"
    assert mine.refuses(asked._replace(tunnel=False), "192.168.0.5") == ""


def test_muxproxys_own_listeners_are_denied_whichever_address_leads_there() -> None:
    own = {"10.0.0.7", "127.0.0.1", "fd00::7"}
    mine = judge(
        allow=("*", "127.0.0.0/8", "10.0.0.0/8", "10.0.0.9:3130"),
        listeners=("0.0.0.0:3128", "127.0.0.1:3129", "10.0.0.9:3130", "unix:/run/x.sock", "[::]:3131"),
    )

    def refuses(address: str, port: int) -> bool:
        why = mine.refuses(EXAMPLE._replace(port=port), address, is_own=own.__contains__)
        assert not why or why.startswith("muxproxy itself listens"), why
        return bool(why)

    assert refuses("10.0.0.7", 3128)
    assert refuses("127.0.0.1", 3128)
    assert refuses("127.7.7.7", 3128)
    assert not refuses("10.0.0.8", 3128)
    assert refuses("127.0.0.1", 3129)
    assert not refuses("127.0.0.2", 3129)
    assert refuses("fd00::7", 3131)
    assert not refuses("fd00::7", 3128)
    assert not refuses("10.0.0.9", 3130), "that very address and port are in allow"


@settings(max_examples=40)
@given(st.ip_addresses(), st.integers(1, 65535))
def test_an_address_is_judged_alike_by_itself_and_as_a_names(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    mine = judge(deny=("10.0.0.0/8", "[fd00::/8]:80"))
    by_itself = mine.refuses(Destination(host(str(address)), port))
    assert bool(by_itself) == bool(mine.refuses(EXAMPLE._replace(port=port), str(address)))


# -- routes -------------------------------------------------------------------------------------------------


def test_the_first_route_that_names_a_destination_is_its() -> None:
    routes = (Route("a.internal:81"), Route("a.internal"), Route("*.internal", tls=True), Route("10.0.0.5"))
    mine = Judge(models.backend(http__routes=routes))
    asked = {"a.internal:81": 0, "a.internal:80": 1, "b.internal:80": 2, "internal:80": None, "10.0.0.5:9": 3}
    for text, number in asked.items():
        assert mine.route(authority(text)) is (None if number is None else routes[number]), text
    assert mine.route(authority("a.internal:81")._replace(tunnel=True)) is None


def test_by_tls_a_url_without_a_port_means_another_one_but_for_a_route_that_names_it() -> None:
    mine = Judge(models.backend(http__routes=(Route("a:80", tls=True), Route("*", tls=True))))
    assert mine.named("a") == Destination("a", 80, tls=True)
    assert mine.named("b") == Destination("b", 443, tls=True)
    assert mine.named("b:80") == Destination("b", 80, tls=True)
    assert mine.named("b", secure=True) == Destination("b", 443, tls=True)


def test_the_servers_of_a_route_are_the_operators_and_the_name_is_the_clients() -> None:
    routes = (Route("a.internal", ("127.0.0.1:8080", "unix:/run/a.sock")), Route("b.internal"))
    mine = Judge(models.backend(http__routes=routes, upstream__deny=("b.internal", "127.0.0.0/8")))
    assert mine.refuses(authority("a.internal:80"), "127.0.0.1") == ""
    assert mine.refuses(authority("c.internal:80"), "127.0.0.1") == 'denied by "127.0.0.0/8"'
    assert mine.refuses(authority("b.internal:80")) == 'denied by "b.internal"'
