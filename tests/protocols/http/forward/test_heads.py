"""Where a request goes, and as what: RFC 9110 sections 7.6.3 and 9.3.6, RFC 9112 section 3.2."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings

from muxproxy.config.destination import Destination
from muxproxy.config.model import Route
from muxproxy.protocols.contract import FIRST, IDEMPOTENT, LAST, PIN, TUNNEL, Reason
from muxproxy.protocols.http.common import KEEP, OLD, OPENS, MalformedError
from muxproxy.protocols.http.forward.heads import Way
from tests.protocols.http.forward.talk import VIA, proxy
from tests.protocols.http.strategies import REQUEST_HEADS

GET = b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("line", "host", "goes_on", "host_on", "where"),
    [
        (b"GET /x HTTP/1.1", b"A.b", b"GET /x", b"A.b", ("a.b", 80)),
        (b"GET http://a/x?y HTTP/1.1", b"a", b"GET /x?y", b"a", ("a", 80)),
        # The target wins, and Host says what it says: RFC 9112 section 3.2.2.
        (b"GET http://a:81/ HTTP/1.1", b"b", b"GET /", b"a:81", ("a", 81)),
        (b"GET http://a HTTP/1.1", b"a", b"GET /", b"a", ("a", 80)),
        (b"GET http://a?x HTTP/1.1", b"a", b"GET /?x", b"a", ("a", 80)),
        (b"GET HTTP://a/ HTTP/1.0", b"", b"GET /", b"a", ("a", 80)),
        (b"OPTIONS http://a:81 HTTP/1.1", b"a", b"OPTIONS *", b"a:81", ("a", 81)),
        (b"OPTIONS http://a/ HTTP/1.1", b"a", b"OPTIONS /", b"a", ("a", 80)),
        (b"OPTIONS * HTTP/1.1", b"a", b"OPTIONS *", b"a", ("a", 80)),
        (b"GET / HTTP/1.1", b"[fd00::0:5]:81", b"GET /", b"[fd00::0:5]:81", ("fd00::5", 81)),
        (b"GET / HTTP/1.1", b"167772165", b"GET /", b"167772165", ("10.0.0.5", 80)),
    ],
)
def test_the_target_says_where_and_else_host_does(
    line: bytes, host: bytes, goes_on: bytes, host_on: bytes, where: tuple[str, int]
) -> None:
    is_old = line.endswith(b"1.0")
    way = proxy().ways.of(line + (b"\r\n\r\n" if is_old else b"\r\nHost: %b\r\n\r\n" % host))
    assert (way.reason, way.destination) == (None, Destination(*where))
    via = VIA.replace(b"1.1", b"1.0") if is_old else VIA
    assert way.head == goes_on + b" HTTP/1.1\r\nHost: " + host_on + b"\r\n" + via + b"\r\n"
    assert way.marks == FIRST | IDEMPOTENT
    assert way.note == (OLD if is_old else KEEP)


def test_what_is_said_to_a_proxy_ends_here_and_via_is_the_last_field() -> None:
    fields = (
        b"Host: a\r\nPROXY-Authorization: Basic cGFzcw==\r\nVia: 1.0 fred\r\nProxy-Connection: keep-alive\r\n"
        b"X-Proxy-Y: stays\r\nproxy-anything: x\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\n\r\n"
    )
    way = proxy().ways.of(b"GET http://a/ HTTP/1.1\r\n" + fields)
    assert way.head == GET + b"Host: a\r\nVia: 1.0 fred\r\nX-Proxy-Y: stays\r\n" + VIA + b"\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a:0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1%20\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 1.2.3.4.5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 0x7g.1\r\n\r\n",
        b"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://user:pass@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a%40b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a#b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a\\@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\n\r\n",
        b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT :443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT user@a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT http://a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT a\r\nX: HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_what_names_no_host_is_refused(head: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        proxy().ways.of(head)
    assert caught.value.status == 400


# Issue 12, "must be shown" 5: neither odd spellings, nor the target against Host, nor a user in the target.
HERE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "[::1]",
    "[::ffff:7f00:1]",
]
HERE += [
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "0",
    "169.254.169.254",
    "[fe80::1]",
    "127.0.0.1.",
    "0251.0376.43518",
]


@pytest.mark.parametrize("host", HERE)
@pytest.mark.parametrize(
    "form",
    [
        "GET / HTTP/1.1\r\nHost: %s",
        "GET http://%s/ HTTP/1.1\r\nHost: a",
        "CONNECT %s:443 HTTP/1.1\r\nHost: a",
    ],
)
def test_odd_spellings_of_what_is_denied_are_denied(form: str, host: str) -> None:
    way = proxy(upstream__allow=("*",)).ways.of((form % host + "\r\n\r\n").encode())
    assert way.reason is Reason.DENIED
    assert "only a network in allow" in way.text


def test_host_cannot_allow_what_the_target_names_nor_the_other_way_round() -> None:
    ways = proxy(upstream__deny=("secret",)).ways
    denied = ways.of(b"GET http://secret/ HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (denied.reason, denied.text) == (Reason.DENIED, 'secret:80: denied by "secret"')
    assert (
        ways.of(b"GET http://a/ HTTP/1.1\r\nHost: secret\r\n\r\n").head
        == GET + b"Host: a\r\n" + VIA + b"\r\n"
    )


@pytest.mark.parametrize(
    "via", [b"1.1 muxproxy-test", b"1.0 fred, 1.1 muxproxy-test (x)", b"HTTP/1.1 muxproxy-test,\t"]
)
@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"GET http://a/ HTTP/1.1", b"CONNECT a:443 HTTP/1.1"])
def test_what_comes_round_is_recognised(line: bytes, via: bytes) -> None:
    way = proxy().ways.of(line + b"\r\nHost: a\r\nvia: 1.1 x\r\nVIA: " + via + b"\r\n\r\n")
    assert way.reason is Reason.LOOP
    assert proxy(pseudonym="other").ways.of(line + b"\r\nHost: a\r\nVia: " + via + b"\r\n\r\n").reason is None


def test_a_tunnel_goes_where_its_target_says_and_nothing_of_it_is_written() -> None:
    way = proxy().ways.of(b"CONNECT A.b:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: y\r\n\r\n")
    assert (way.head, way.length, way.reason) == (b"", 0, None)
    assert way.destination == Destination("a.b", 443, tunnel=True)
    assert way.marks == FIRST | LAST | PIN | TUNNEL
    assert way.note == KEEP | OPENS
    assert proxy().ways.of(b"CONNECT a:443 HTTP/1.0\r\n\r\n").note == OLD | OPENS
    assert proxy().ways.of(b"CONNECT a:22 HTTP/1.1\r\nHost: a\r\n\r\n").reason is Reason.DENIED
    ssh = proxy(upstream__allow=("*:22",)).ways
    assert ssh.of(b"CONNECT a:22 HTTP/1.1\r\nHost: a\r\n\r\n").reason is None


def test_a_route_may_say_tls_and_a_target_does() -> None:
    ways = proxy(http__routes=(Route("a", tls=True), Route("b"))).ways
    for head, where in (
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", ("a", 443, True)),
        (b"GET http://a:8443/ HTTP/1.1\r\nHost: a\r\n\r\n", ("a", 8443, True)),
        (b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", ("b", 80, False)),
        (b"GET https://b/x HTTP/1.1\r\nHost: z\r\n\r\n", ("b", 443, True)),
        (b"GET HTTPS://b:80/x HTTP/1.1\r\nHost: z\r\n\r\n", ("b", 80, True)),
    ):
        assert ways.of(head).destination == Destination(*where)
    assert ways.of(b"GET https://b/x HTTP/1.1\r\nHost: z\r\n\r\n").head.startswith(
        b"GET /x HTTP/1.1\r\nHost: b\r\n"
    )


# -- the short cut ------------------------------------------------------------------------------------------

ABSOLUTE = REQUEST_HEADS.map(lambda head: head.replace(b" / HTTP", b" http://a/ HTTP", 1))


def told(way: Way) -> tuple[object, ...]:
    where = (way.destination, way.reason, way.text)
    return (way.head, way.marks, way.note, way.length, *where)


@settings(max_examples=60)
@given(REQUEST_HEADS | ABSOLUTE)
def test_where_the_short_cut_answers_it_says_what_the_thorough_way_says(head: bytes) -> None:
    ways = proxy(upstream__deny=("b",), http__max_target=256).ways
    try:
        short = ways.plain(head)
    except MalformedError as fault:
        with pytest.raises(MalformedError, match=re.escape(str(fault))):
            ways.thorough(head)
    else:
        assert short is None or told(short) == told(ways.thorough(head))


@pytest.mark.parametrize(
    "fields", [b"", b"Connection: close\r\n", b"Content-Length: 5\r\n", b"Accept: x\r\n"]
)
@pytest.mark.parametrize(
    "line", [b"GET /x", b"HEAD http://a/x", b"POST http://a", b"GET http://a/", b"PUT http://b/"]
)
def test_the_short_cut_knows_what_nearly_everybody_sends(line: bytes, fields: bytes) -> None:
    host = b"b" if b"b/" in line else b"a"
    head = line + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + fields + b"\r\n"
    ways = proxy(upstream__deny=("b",)).ways
    short = ways.plain(head)
    assert short is not None
    assert told(short) == told(ways.thorough(head))
