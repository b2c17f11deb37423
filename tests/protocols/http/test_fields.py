"""Field lines one by one: what each rule says of what it refuses."""

from __future__ import annotations

import pytest

from muxproxy.protocols.http.common import CHUNKED, MalformedError
from muxproxy.protocols.http.fields import (
    body_length,
    check_trailers,
    connection_options,
    parse_fields,
    rewritten,
    values_of,
)


def test_a_field_is_its_line_its_name_and_its_value() -> None:
    assert parse_fields(b"") == []
    assert parse_fields(b"A-b:\t c d \r\nx:") == [(b"A-b:\t c d ", b"a-b", b"c d"), (b"x:", b"x", b"")]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b" a: b", "folded"),
        (b"\ta: b", "folded"),
        (b"abc", "no colon"),
        (b"", "no colon"),
        (b"a : b", "white space between"),
        (b": b", "not a token"),
        (b"a\0: b", "not a token"),
        (b"a: \0", "field a holds a control character"),
        (b"a: b\rc", "field a holds a control character"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_a_field(line: bytes, fault: str) -> None:
    with pytest.raises(MalformedError, match=fault):
        parse_fields(b"ok: 1\r\n" + line)


def test_connection_is_a_list_in_any_case_over_any_lines() -> None:
    fields = parse_fields(b"Connection: Close,, X-a ,\r\nA: b\r\nconnection:\r\nCONNECTION: close")
    assert connection_options(fields) == {b"close", b"x-a"}
    assert connection_options([]) == frozenset()


@pytest.mark.parametrize(
    ("block", "length"),
    [
        (b"", None),
        (b"Content-Length: 0", 0),
        (b"content-length: 0012", 12),
        (b"Transfer-Encoding: Chunked", CHUNKED),
    ],
)
def test_the_fields_tell_the_bodys_length(block: bytes, length: int | None) -> None:
    assert body_length(parse_fields(block), 1) == length


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"gzip, chunked", 501),
        (b'x;a=b;c="d", chunked', 501),
        (b"gzip", 400),
        (b"chunked, gzip", 400),
        (b"chunked, chunked", 400),
        (b"a b, chunked", 400),
        (b"", 400),
    ],
)
def test_a_coding_before_chunked_is_not_implemented_and_anything_else_is_bad(
    value: bytes, status: int
) -> None:
    with pytest.raises(MalformedError) as caught:
        body_length(parse_fields(b"Transfer-Encoding: " + value), 1)
    assert caught.value.status == status


def test_a_head_is_put_together_again_without_what_goes() -> None:
    fields = parse_fields(b"A: 1\r\nConnection: x\r\nX: 2\r\nConnection: y\r\nB: 3")
    assert rewritten(b"S", fields, frozenset({b"x"}), b"") == b"S\r\nA: 1\r\nB: 3\r\n\r\n"
    assert rewritten(b"S", fields, frozenset(), b"C: z") == b"S\r\nA: 1\r\nC: z\r\nX: 2\r\nB: 3\r\n\r\n"
    assert rewritten(b"S", [], frozenset(), b"C: z") == b"S\r\nC: z\r\n\r\n"
    assert rewritten(b"S", [], frozenset(), b"") == b"S\r\n\r\n"


def test_trailers_are_fields_too() -> None:
    check_trailers(b"A: b\r\nC: d\r\n\r\n")
    with pytest.raises(MalformedError, match="content-length among the trailers"):
        check_trailers(b"A: b\r\nContent-Length: 1\r\n\r\n")
    with pytest.raises(MalformedError, match="bad trailers"):
        check_trailers(b"A: b\nC: d\r\n\r\n")


def test_values_come_in_order() -> None:
    assert values_of(parse_fields(b"A: 1\r\nB: 2\r\na: 3"), b"a") == [b"1", b"3"]
