"""Addresses as operators write them, for listeners and for servers."""

from __future__ import annotations

import pytest

from muxproxy.config.address import Address, admin_socket, overlap, parse_listen, parse_server
from muxproxy.config.model import Node


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("tcp", "127.0.0.1", 8080)),
        ("127.0.0.1:0", Address("tcp", "127.0.0.1", 0)),
        ("0.0.0.0:80", Address("tcp", "0.0.0.0", 80)),
        ("[::1]:8080", Address("tcp", "::1", 8080)),
        ("[0:0:0::1]:8080", Address("tcp", "::1", 8080)),
        ("unix:/run/app.sock", Address("unix", path="/run/app.sock")),
    ],
)
def test_a_place_to_listen_is_an_ip_address_or_a_unix_path(text: str, address: Address) -> None:
    assert parse_listen(text) == address
    assert parse_listen(str(address)) == address


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("localhost:8080", "not a name"),
        ("8080", "an address and a port"),
        (":8080", "127.0.0.1:8080 for this machine only"),
        ("*:8080", "127.0.0.1:8080 for this machine only"),
        ("127.0.0.1", "an address and a port"),
        ("127.0.0.1:http", "an address and a port"),
        ("127.0.0.1:65536", "port 1 to 65535"),
        ("127.0.0.1:-1", "an address and a port"),
        ("127.0.0.300:80", "not a name"),
        ("::1:8080", "stands in brackets"),
        ("[127.0.0.1]:80", "between brackets"),
        ("[::ffff:127.0.0.1]:80", "between brackets"),
        ("unix:run/app.sock", "absolute"),
        ("unix:/run/", "absolute"),
        ("unix:@abstract", "absolute"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("", "an address and a port"),
    ],
)
def test_anything_else_is_no_place_to_listen(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_listen(text)
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address", "is_name"),
    [
        ("10.0.0.5:80", Address("tcp", "10.0.0.5", 80), False),
        ("API.internal:80", Address("tcp", "api.internal", 80), True),
        ("my_service.ns.svc.:80", Address("tcp", "my_service.ns.svc.", 80), True),
        ("[fd00::5]:80", Address("tcp", "fd00::5", 80), False),
        ("unix:/run/app.sock", Address("unix", path="/run/app.sock"), False),
    ],
)
def test_a_server_may_have_a_name(text: str, address: Address, is_name: bool) -> None:
    assert parse_server(text) == address
    assert parse_server(text).is_name is is_name


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("http://10.0.0.5:80", "without the scheme"),
        ("10.0.0.5", "a host and a port"),
        ("10.0.0.5:0", "port 1 to 65535"),
        ("10.0.0.300:80", "neither an IP address nor a host name"),
        ("-api:80", "neither an IP address nor a host name"),
        ("a..b:80", "neither an IP address nor a host name"),
        (":80", "neither an IP address nor a host name"),
        ("api:80/path", "a host and a port"),
        ("fd00::5:80", "stands in brackets"),
    ],
)
def test_anything_else_is_no_server(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_server(text)
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "0.0.0.0:80", False),  # [::] is bound with IPV6_V6ONLY
        ("127.0.0.1:0", "127.0.0.1:0", False),  # the kernel chooses two ports
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", "127.0.0.1:80", False),
    ],
)
def test_two_listeners_collide_where_the_kernel_would_say_address_in_use(
    one: str, other: str, collide: bool
) -> None:
    assert overlap(parse_listen(one), parse_listen(other)) is collide
    assert overlap(parse_listen(other), parse_listen(one)) is collide


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("unix:/a", True),
        ("0.0.0.0:1", False),
    ],
)
def test_loopback_and_unix_sockets_are_local(text: str, local: bool) -> None:
    assert parse_listen(text).is_local is local


def test_the_admin_socket_is_where_the_node_says_else_where_the_user_may_write() -> None:
    assert admin_socket(Node(admin="/x.sock"), 0, "/run/user/0", "/run/muxproxy") == "/x.sock"
    assert admin_socket(Node(), 0, "/run/user/0") == "/run/muxproxy/admin.sock"
    assert admin_socket(Node(), 7, None, "/run/muxproxy:/run/other") == "/run/muxproxy/admin.sock"
    assert admin_socket(Node(), 7, "/run/user/7") == "/run/user/7/muxproxy/admin.sock"
    assert admin_socket(Node(), 7, None) == "/tmp/muxproxy-7/admin.sock"
    assert admin_socket(Node(), 7, "") == "/tmp/muxproxy-7/admin.sock"
