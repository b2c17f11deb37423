"""Chunks: where a body ends, whatever the pieces; what of it may be passed on, and when."""

from __future__ import annotations

import pytest

from muxproxy.protocols.http.chunked import Chunked
from muxproxy.protocols.http.common import MalformedError
from muxproxy.protocols.http.grammar import MAX_CHUNK_DIGITS, MAX_CHUNK_LINE, MAX_EXTENSIONS
from tests.protocols.http.feeding import bytewise

MAX_TRAILERS = 100


def run(pieces: list[bytes], *, strip: bool = False) -> tuple[bytes, bytes, bool]:
    """What was passed on (or the data alone), what was left over, and whether the body ended."""
    chunks = Chunked(MAX_TRAILERS, strip=strip)
    out = rest = b""
    for piece in pieces:
        if chunks.done:
            rest += piece
            continue
        data = chunks.kept + piece
        end = chunks.scan(data, 0)
        out += data[:end]
        if chunks.done:
            rest = data[end:]
            assert not chunks.kept
        else:
            assert chunks.kept == data[end:]
            assert len(chunks.kept) < MAX_CHUNK_LINE + MAX_TRAILERS
    if chunks.spans is not None:
        out = b"".join(chunks.spans)
    return out, rest, chunks.done


GOOD = {
    "empty": (b"0\r\n\r\n", b""),
    "some chunks": (b"3\r\nabc\r\n0A\r\n0123456789\r\n00\r\n\r\n", b"abc0123456789"),
    "data that looks like framing": (b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
    "extensions": (b'1;a;b=c;d="e\\"f;\tg"\r\nx\r\n0;last\r\n\r\n', b"x"),
    "trailers": (b"0\r\nA: b\r\nC-d:\t\xff \r\n\r\n", b""),
    "the longest size": (b"1".rjust(MAX_CHUNK_DIGITS, b"0") + b"\r\nx\r\n0\r\n\r\n", b"x"),
    "the longest line": (b"1;" + b"e" * (MAX_CHUNK_LINE - 4) + b"\r\nx\r\n0\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("case", GOOD)
def test_a_body_ends_where_its_last_chunk_says(case: str) -> None:
    body, data = GOOD[case]
    for behind in (b"", b"GET", b"\r\n\r\n"):
        whole = body + behind
        for pieces in ([whole], bytewise(whole), [body, behind], [whole[:7], whole[7:]]):
            assert run(pieces) == (body, behind, True)
            assert run(pieces, strip=True) == (data, behind, True)
    for end in range(len(body)):
        out, _, done = run([body[:end]])
        assert body.startswith(out)
        assert not done


# What may be passed on, and what not, from the first byte of its line on.
BAD = {
    "no digits": (b"", b"\r\n\r\n"),
    "no digits before an extension": (b"", b";a\r\nx\r\n"),
    "a sign": (b"", b"+1\r\nx\r\n"),
    "a minus": (b"", b"-1\r\nx\r\n"),
    "0x": (b"", b"0x1\r\nx\r\n"),
    "a space before": (b"", b" 1\r\nx\r\n"),
    "a space behind": (b"", b"1 \r\nx\r\n"),
    "an underscore": (b"", b"1_0\r\nx\r\n"),
    "no hex": (b"", b"g\r\nx\r\n"),
    "overlong": (b"", b"1".rjust(MAX_CHUNK_DIGITS + 1, b"0") + b"\r\nx\r\n"),
    "more than 64 bits": (b"", b"10000000000000001\r\nx\r\n"),
    "bare LF": (b"", b"1\nx\r\n0\r\n\r\n"),
    "bare CR": (b"", b"1\rx\r\n0\r\n\r\n"),
    "CR CR LF": (b"", b"1\r\r\nx\r\n0\r\n\r\n"),
    "an extension without a name": (b"", b"1;\r\nx\r\n"),
    "an extension with a bare LF": (b"", b"1;a\nb\r\nx\r\n"),
    "an extension with a LF in quotes": (b"", b'1;a="\n"\r\nx\r\n'),
    "an extension with spaces": (b"", b"1 ; a\r\nx\r\n"),
    "an extension without its value": (b"", b"1;a=\r\nx\r\n"),
    "an extension that stays open": (b"", b'1;a="b\r\nx\r\n'),
    "NUL in an extension": (b"", b"1;a\0\r\nx\r\n"),
    "an overlong extension": (b"", b"1;" + b"e" * (MAX_CHUNK_LINE - 3) + b"\r\nx\r\n"),
    "too many extensions": (
        (b"1;" + b"e" * 200 + b"\r\nx\r\n") * (MAX_EXTENSIONS // 201),
        b"0;" + b"e" * 200 + b"\r\n",
    ),
    "data longer than its size": (b"1\r\nx", b"y\r\n"),
    "data without CRLF": (b"1\r\nx", b"0\r\n\r\n"),
    "data with a bare LF behind": (b"1\r\nx", b"\n0\r\n\r\n"),
    "data with a bare CR behind": (b"1\r\nx", b"\r0\r\n\r\n"),
    "a trailer that is no field": (b"0\r\n", b"abc\r\n\r\n"),
    "a folded trailer": (b"0\r\n", b"A: b\r\n c\r\n\r\n"),
    "a trailer with space before the colon": (b"0\r\n", b"A : b\r\n\r\n"),
    "a bare LF among the trailers": (b"0\r\n", b"A: b\nC: d\r\n\r\n"),
    "Content-Length among the trailers": (b"0\r\n", b"Content-Length: 1\r\n\r\n"),
    "Transfer-Encoding among the trailers": (b"0\r\n", b"transfer-encoding: chunked\r\n\r\n"),
    "Host among the trailers": (b"0\r\n", b"A: b\r\nHost: a\r\n\r\n"),
    "too many trailers": (b"0\r\n", b"A: b\r\n" * 20 + b"\r\n"),
    "trailers that do not end": (b"0\r\n", b"A" * (MAX_TRAILERS + 1)),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_line_is_refused_and_no_byte_of_it_passed_on(case: str) -> None:
    good, bad = BAD[case]
    body = good + bad
    for pieces in ([body], [body[:4], body[4:]], [good, bad]):
        with pytest.raises(MalformedError):
            run(pieces)
    chunks = Chunked(MAX_TRAILERS)
    out = b""
    fault = None
    for piece in bytewise(body):
        data = chunks.kept + piece
        try:
            out += data[: chunks.scan(data, 0)]
        except MalformedError as error:
            fault = error
            break
    assert fault is not None
    assert out == good


def test_a_line_without_an_end_is_refused_at_its_limit() -> None:
    line = b"1;".ljust(MAX_CHUNK_LINE, b"e")
    assert run([line[:-1]]) == (b"", b"", False)
    with pytest.raises(MalformedError):
        run([line])


def test_data_is_skipped_and_not_searched() -> None:
    chunks = Chunked(MAX_TRAILERS)
    size = 1 << 40
    head = b"%x\r\n" % size
    assert chunks.scan(head, 0) == len(head)
    piece = b"\r\n" * 1000
    for _ in range(100):
        assert chunks.scan(piece, 0) == len(piece)
        assert chunks.kept == b""
