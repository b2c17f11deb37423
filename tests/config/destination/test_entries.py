"""What an operator may write in allow, deny and as the host of a route."""

from __future__ import annotations

import pytest

from muxproxy.config.destination.entries import parse_entry, parse_route_host


@pytest.mark.parametrize(
    "text", ["*", "*:8443", "*.internal", "*.Internal.:80", "api", "api:80", "localhost"]
)
def test_an_entry_may_be_a_name(text: str) -> None:
    entry = parse_entry(text)
    assert entry.name
    assert parse_route_host(text) == entry


@pytest.mark.parametrize(
    "text", ["10.0.0.0/8", "10.0.0.5", "10.0.0.0/8:443", "fd00::/8", "[fd00::/8]:443", "[::1]"]
)
def test_an_entry_may_be_a_network(text: str) -> None:
    assert parse_entry(text).network is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*x",
        "*.",
        "a.*",
        "*..a",
        "10.0.0.5/8",
        "127.1",
        "0x7f",
        "a:",
        "a:0",
        "a:99999",
        "[a]",
        "[::1",
        "a/8",
        "[::1]:",
        "[::1]x",
        "::ffff:10.0.0.0/104",
        "http://a",
        "u@a",
        "a b",
        "1.2.3",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 10\.0\.0\.0/8"):
        parse_entry(text)
