"""Ways to make two HTTP parsers disagree about where a request ends, as they are published. All are refused.

CL.TE, TE.CL, TE.TE and 0.CL by the names of James Kettle's papers; chunk games by those of "Funky Chunks"
(TERM.EXT, EXT.TERM, TERM.SPILL). Where a head has gone on before its body goes wrong, the request never
becomes whole.
"""

from __future__ import annotations

import pytest

from tests.protocols.http.feeding import bytewise, protocol, requests

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
CL = b"Content-Length: 6\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
END = b"\r\n0\r\n\r\n"

HEADS = {
    "CL.TE": CL + TE,
    "TE.CL": TE + CL,
    "TE.CL of nothing": TE + b"Content-Length: 0\r\n",
    "CL.CL, differing": CL + b"Content-Length: 5\r\n",
    "CL.CL, equal": CL + CL,
    "CL.CL, by case": CL + b"content-length: 6\r\n",
    "a list of equal lengths": b"Content-Length: 5, 5\r\n",
    "a list of differing lengths": b"Content-Length: 5, 6\r\n",
    "a plus": b"Content-Length: +5\r\n",
    "a minus": b"Content-Length: -5\r\n",
    "a minus zero": b"Content-Length: -0\r\n",
    "hex": b"Content-Length: 0x5\r\n",
    "octal by name": b"Content-Length: 0o5\r\n",
    "an underscore": b"Content-Length: 1_0\r\n",
    "a decimal point": b"Content-Length: 5.0\r\n",
    "an exponent": b"Content-Length: 5e0\r\n",
    "a space inside": b"Content-Length: 1 0\r\n",
    "a vertical tab before": b"Content-Length: \x0b5\r\n",
    "a form feed behind": b"Content-Length: 5\x0c\r\n",
    "a NUL behind": b"Content-Length: 5\0\r\n",
    "no-break space": b"Content-Length: \xa05\r\n",
    "digits of another script": "Content-Length: \u0665\r\n".encode(),
    "superscript digits": b"Content-Length: \xb2\r\n",
    "an empty length": b"Content-Length:\r\n",
    "64 bits overflow": b"Content-Length: 18446744073709551621\r\n",
    "32 digits": b"Content-Length: 00000000000000000000000000000005\r\n",
    "a parameter": b"Content-Length: 5;a\r\n",
    "quotes": b'Content-Length: "5"\r\n',
    "CL, space before its colon": b"Content-Length : 5\r\n",
    "CL, tab before its colon": b"Content-Length\t: 5\r\n",
    "CL, a NUL in its name": b"Content\0-Length: 5\r\n",
    "CL behind a bare CR": b"A: b\rContent-Length: 5\r\n",
    "CL behind a bare LF": b"A: b\nContent-Length: 5\r\n",
    "CL in a folded line": b"A: b\r\n Content-Length: 5\r\n",
    "a folded CL": b"Content-Length:\r\n 5\r\n",
    "a folded tab": b"Content-Length:\r\n\t5\r\n",
    "TE, space before its colon": b"Transfer-Encoding : chunked\r\n",
    "TE, a space before its name": b" Transfer-Encoding: chunked\r\n",
    "TE, folded": b"Transfer-Encoding:\r\n chunked\r\n",
    "TE, a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "TE, a form feed": b"Transfer-Encoding: chunked\x0c\r\n",
    "TE, a NUL": b"Transfer-Encoding: chunked\0\r\n",
    "TE, a bare CR": b"Transfer-Encoding: chunked\r\r\n",
    "TE, a bare LF": b"Transfer-Encoding: chunked\nA: b\r\n",
    "TE, a bare LF before": b"A: b\nTransfer-Encoding: chunked\r\n",
    "TE, a non-ASCII space": b"Transfer-Encoding: \xa0chunked\r\n",
    "TE, 8-bit k": "Transfer-Encoding: chun\u212aed\r\n".encode(),
    "TE, quoted": b'Transfer-Encoding: "chunked"\r\n',
    "TE, single quotes": b"Transfer-Encoding: 'chunked'\r\n",
    "TE, misspelt": b"Transfer-Encoding: xchunked\r\n",
    "TE, identity": b"Transfer-Encoding: identity\r\n",
    "TE, empty": b"Transfer-Encoding:\r\n",
    "TE, a comma": b"Transfer-Encoding: chunked,\r\n",
    "TE, a comma before": b"Transfer-Encoding: ,chunked\r\n",
    "TE, a parameter": b"Transfer-Encoding: chunked;a=b\r\n",
    "TE, chunked first": b"Transfer-Encoding: chunked, identity\r\n",
    "TE, chunked last": b"Transfer-Encoding: identity, chunked\r\n",
    "TE, chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "TE, gzip": b"Transfer-Encoding: gzip, chunked\r\n",
    "TE, a coding that is no token": b"Transfer-Encoding: a b, chunked\r\n",
    "TE.TE": TE + TE,
    "TE.TE, identity": TE + b"Transfer-Encoding: identity\r\n",
    "TE.TE, unknown": b"Transfer-Encoding: x\r\n" + TE,
    "TE.TE, by case": TE + b"TRANSFER-ENCODING: cow\r\n",
    "TE by underscore and CL.TE": b"Transfer_Encoding: chunked\r\n" + CL + TE,
    "CL and a TE that Connection names": b"Connection: Transfer-Encoding\r\n" + CL + TE,
    "TE that Connection names": b"Connection: close, transfer-encoding\r\n" + TE,
    "CL that Connection names": b"Connection: Content-Length\r\n" + CL,
}


@pytest.mark.parametrize("case", HEADS)
def test_a_head_that_parsers_may_read_in_two_ways_is_refused(case: str) -> None:
    for data in (
        POST + HEADS[case] + END + SMUGGLED,
        POST + b"X: y\r\n" + HEADS[case] + b"Z: z\r\n" + END + SMUGGLED,
    ):
        for chunks in ([data], bytewise(data), [data[:20], data[20:]]):
            seen = requests(chunks)
            assert seen.messages == []
            assert seen.status in (400, 501)


def test_chunks_in_http_1_0_are_refused() -> None:
    for data in (
        b"POST / HTTP/1.0\r\n" + TE + END,
        b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n" + TE + END,
    ):
        assert requests([data + SMUGGLED]).status == 400


BODIES = {
    "TERM.EXT": b"5;\nxxx\r\nhello\r\n0\r\n\r\n",
    "EXT.TERM": b"5;\rxxx\r\nhello\r\n0\r\n\r\n",
    "TERM.SPILL": b"5\r\nhelloX\r\n0\r\n\r\n",
    "SPILL.TERM": b"5\r\nhello\n0\r\n\r\n",
    "a length of one byte more": b"5\r\nhello\r\r\n0\r\n\r\n",
    "a size with a bare LF": b"5\nhello\r\n0\r\n\r\n",
    "a size that overflows 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a size that overflows 32 bits, signed": b"-fffffffb\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a space": b"5 \r\nhello\r\n0\r\n\r\n",
    "a last chunk with a bare LF": b"5\r\nhello\r\n0\n\n",
    "a last chunk with a bare CR": b"5\r\nhello\r\n0\r\r",
    "an empty size": b"5\r\nhello\r\n\r\n\r\n",
    "framing among the trailers": b"0\r\nContent-Length: 50\r\n\r\n",
    "a request among the trailers": b"0\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n",
    "a bare LF at the trailers' end": b"0\r\nA: b\r\n\n",
}


@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_parsers_may_read_in_two_ways_never_becomes_whole(case: str) -> None:
    data = POST + TE + b"\r\n" + BODIES[case] + SMUGGLED
    whole = requests([data])
    assert whole.status == 400
    for chunks in (bytewise(data), [data[:-40], data[-40:]]):
        seen = requests(chunks)
        assert seen.fault
        assert not any(m.whole for m in seen.messages)
        assert not any(b"/admin" in m.data for m in seen.messages)


def test_what_follows_a_length_is_the_next_request_and_nothing_else() -> None:
    data = POST + CL + b"\r\n0\r\n\r\nG" + SMUGGLED
    seen = requests([data])
    assert seen.messages[0].data == POST + CL + b"\r\n0\r\n\r\nG"
    assert [m.data for m in requests([POST + b"\r\n" + SMUGGLED]).messages] == [
        POST + b"\r\n",
        SMUGGLED,
    ]  # 0.CL


def test_fields_that_some_servers_take_for_others_pass_as_what_they_are() -> None:
    """CGI and WSGI turn - into _; that is theirs to settle, for us they are two fields."""
    data = POST + b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n"
    seen = requests([data + SMUGGLED], protocol())
    assert [m.data for m in seen.messages] == [data, SMUGGLED]
