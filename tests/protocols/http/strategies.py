"""Heads and bodies for Hypothesis: mostly right, with the wrong mixed in where parsers go wrong."""

from __future__ import annotations

from hypothesis import strategies as st

NAMES = st.sampled_from(
    [
        *b"Host host Connection Content-Length content-length Transfer-Encoding TE te Upgrade Expect".split(),
        *b"Keep-Alive Proxy-Connection Trailer Max-Forwards Accept X-A X_b connection-x Date Server".split(),
        b"transfer_encoding",
    ]
)
VALUES = st.sampled_from(
    [
        *b"a|a:80|| |close|keep-alive|Keep-Alive|Close|upgrade|x-a, close|Upgrade, keep-alive|host|TE".split(
            b"|"
        ),
        *b"0|1|5|05|+5|5, 5|123456789012345678901|chunked|Chunked|gzip, chunked|chunked, chunked".split(b"|"),
        *b"identity|trailers|websocket|h2c|100-continue|timeout=5|timeout=5, max=9|max=1, timeout=7".split(
            b"|"
        ),
        *b"a b|\xff|a\tb|a\nb|a\rb|a\0|[::1]:8|a/b|u@a".split(b"|"),
    ]
)
COLONS = st.sampled_from([b": "] * 20 + [b":", b":\t", b":  ", b" :", b""])
ENDS = st.sampled_from([b"\r\n"] * 200 + [b" \r\n", b"\n", b"\r", b"\r\n ", b""])

# Nearly every request needs a Host to get anywhere.
FIELDS = st.lists(
    st.one_of(
        st.sampled_from([b"Host: a\r\n", b"Accept: */*\r\n", b"X-A: 1\r\n", b"Content-Length: 5\r\n"]),
        st.sampled_from(
            [b"Connection: keep-alive\r\n", b"Transfer-Encoding: chunked\r\n", b"connection: Close\r\n"]
        ),
        st.tuples(NAMES, COLONS, VALUES, ENDS).map(b"".join),
    ),
    max_size=6,
).map(b"".join)

METHODS = st.sampled_from(
    [*b"GET POST GET POST GET POST GET POST HEAD PUT OPTIONS TRACE CONNECT purge".split(), b"G T"]
)
TARGETS = st.sampled_from([*[b"/"] * 20, *b"/a?b=c * http://a/ http://b:1?x a:80 /# /\xff /|[]".split()])
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0"] * 3 + [b"HTTP/1.2", b"HTTP/2.0", b"http/1.1"])
REQUEST_LINES = st.tuples(METHODS, st.just(b" "), TARGETS, st.just(b" "), VERSIONS, ENDS).map(b"".join)
HOSTS = st.sampled_from([b"Host: a\r\n"] * 6 + [b"", b"hOST:\t[::1]:80 \r\n"])
REQUEST_HEADS = st.tuples(REQUEST_LINES, HOSTS, FIELDS, ENDS).map(b"".join)

STATUSES = st.sampled_from(
    b"200 OK|200|204 No|304 x|404 Not Found|500 \xff|426 Up|100 Continue|103 x|101 S|99|20a".split(b"|")
)
STATUS_LINES = st.tuples(VERSIONS, st.just(b" "), STATUSES, ENDS).map(b"".join)
REPLY_HEADS = st.tuples(STATUS_LINES, FIELDS, ENDS).map(b"".join)

CHUNKS = st.lists(
    st.sampled_from(
        [
            b"5\r\nhello\r\n",
            b"1;a=b\r\nx\r\n",
            b"0a\r\n0123456789\r\n",
            b"5\nhello\r\n",
            b"+1\r\nx\r\n",
            b"1\r\nxy\r\n",
        ]
    ),
    max_size=3,
).map(b"".join)
BODIES = st.one_of(
    st.sampled_from([b"", b"hello"]),
    st.tuples(
        CHUNKS, st.sampled_from([b"0\r\n\r\n"] * 4 + [b"0\r\nA: b\r\n\r\n", b"0\r\nHost: a\r\n\r\n", b""])
    ).map(b"".join),
)

REQUESTS = st.lists(st.tuples(REQUEST_HEADS, BODIES).map(b"".join), min_size=1, max_size=3).map(b"".join)
REPLIES = st.lists(st.tuples(REPLY_HEADS, BODIES).map(b"".join), min_size=1, max_size=3).map(b"".join)
NOTES = st.integers(0, 15)

GARBAGE = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from([b"\r\n", b"\n", b"\r", b" ", b":", b"0", b"GET", b"/", b"HTTP/1.1", b"\0", b";"])
    ).map(b"".join),
)


@st.composite
def pieces(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> list[bytes]:
    """`data` as a network may deliver it. Joined, they are what was sent."""
    whole = draw(data)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
