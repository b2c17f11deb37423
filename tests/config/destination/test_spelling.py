"""There is one spelling of where a request goes, whatever it looks like."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muxproxy.config.destination.spelling import Destination, authority, host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("API.Example.COM", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("under_score.internal", "under_score.internal"),
        ("10.0.0.5", "10.0.0.5"),
        ("127.0.0.1.", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("169.0xfe.43518", "169.254.169.254"),
        ("0", "0.0.0.0"),
        ("FD00::0:5", "fd00::5"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:7f00:1", "127.0.0.1"),
    ],
)
def test_there_is_one_spelling_of_a_host(text: str, expected: str) -> None:
    assert host(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "-a",
        "a b",
        "a%2eb",
        "127.0.0.1%00",
        "%31",
        "fe80::1%eth0",
        "user@a",
        "a/b",
        "ⓐ.com",
        "127.0.0.256",
        "127.0.0.08",
        "1.2.3.4.5",
        "4294967296",
        "1.0x",
        "a.0x7f",
        "1::2::3",
        "a.1",
        "x" * 64,
    ],
)
def test_what_is_neither_an_address_nor_a_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        host(text)


@settings(max_examples=50)
@given(
    st.from_regex(r"((0x[0-9a-f]{1,9}|0?[0-9]{1,11})\.){0,3}(0x[0-9a-f]{1,9}|0?[0-9]{1,11})", fullmatch=True)
)
def test_a_number_is_the_address_that_the_resolver_makes_of_it(text: str) -> None:
    try:
        expected = socket.inet_ntoa(socket.inet_aton(text))
    except OSError:
        with pytest.raises(ValueError, match=r"."):
            host(text)
    else:
        assert host(text) == expected


@pytest.mark.parametrize(
    ("text", "port", "expected"),
    [
        ("a:81", 80, ("a", 81)),
        ("a", 80, ("a", 80)),
        ("a:", 80, ("a", 80)),
        ("a:00443", 0, ("a", 443)),
        ("[::1]:81", 0, ("::1", 81)),
        ("[0:0::1]", 80, ("::1", 80)),
        ("[::ffff:10.0.0.1]:81", 0, ("10.0.0.1", 81)),
    ],
)
def test_an_authority_is_a_host_and_a_port(text: str, port: int, expected: tuple[str, int]) -> None:
    assert authority(text, port=port) == Destination(*expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "a",
        "a:",
        "a:0",
        "a:65536",
        "a:x",
        "a:1:2",
        "[a]:80",
        "[::1",
        "::1:80",
        "u@a:80",
        "u:p@a:80",
        "[127.0.0.1]:80",
        "a:80 ",
        "a:+80",
        "a:٣",
        "[]:80",
        "[::1]x:80",
    ],
)
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        authority(text)


def test_it_is_written_as_addresses_are() -> None:
    assert [str(Destination("a", 80)), str(Destination("::1", 81))] == ["a:80", "[::1]:81"]
