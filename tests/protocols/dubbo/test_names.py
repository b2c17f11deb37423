"""The first strings of a body, in the forms that serializations write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.protocols.dubbo.names import CutError, read_names, read_string

TEXTS = st.text(max_size=1200)


def hessian(text: str, chunk: int = 0x8000) -> bytes:
    """As Hessian2Output.writeString: units of UTF-16, pairs in six bytes, chunks of `chunk` at most."""
    units = text.encode("utf-16-be", "surrogatepass")
    parts = [units[i : i + 2 * chunk] for i in range(0, len(units), 2 * chunk)] or [b""]
    out = b""
    for number, part in enumerate(parts, 1):
        size = len(part) // 2
        body = b"".join(
            chr(int.from_bytes(part[i : i + 2], "big")).encode("utf-8", "surrogatepass")
            for i in range(0, len(part), 2)
        )
        if number < len(parts):
            out += b"R" + size.to_bytes(2, "big") + body
        elif size <= 31:
            out += bytes((size,)) + body
        elif size <= 1023:
            out += bytes((0x30 + (size >> 8), size & 255)) + body
        else:
            out += b"S" + size.to_bytes(2, "big") + body
    return out


def same_text(data: bytes, text: str) -> bool:
    """Whatever was done to pairs."""
    units = data.decode("utf-8", "surrogatepass").encode("utf-16-be", "surrogatepass")
    return units == text.encode("utf-16-be", "surrogatepass")


def fastjson2(text: str) -> bytes:
    plain = text.encode()
    if text.isascii() and len(plain) <= 47:
        body = bytes((0x49 + len(plain),)) + plain
    else:
        size = len(plain)
        head = bytes((size,)) if size <= 47 else bytes((0x38 + (size >> 8), size & 255))
        body = (b"\x79" if text.isascii() else b"\x7a") + head + plain
    return len(body).to_bytes(4, "big") + body


@given(TEXTS, st.integers(1, 50))
def test_hessian_strings_are_read_in_any_script_and_in_chunks(text: str, chunk: int) -> None:
    for data in (hessian(text), hessian(text, chunk)):
        read = read_string(data + b"\x05other", 0, len(data) + 6, 2)
        assert read is not None
        assert same_text(read, text)


@given(st.text(st.characters(codec="utf-8"), max_size=300), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_json_strings_are_read_with_and_without_escapes(text: str, end: str, ascii_only: bool) -> None:
    data = (json.dumps(text, ensure_ascii=ascii_only) + end).encode()
    for serialization in (6, 16):
        assert read_string(data, 0, len(data), serialization) == text.encode()


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_fastjson2_strings_are_read(text: str) -> None:
    data = fastjson2(text)
    assert read_string(data, 0, len(data), 23) == text.encode()


FORMS = {
    2: b"\x052.0.2\x0fcom.acme.OrdersN\x06create\x00",
    6: b'"2.0.2"\n"com.acme.Orders"\nnull\n"create"\n""\n',
    16: b'"2.0.2"\r\n"com.acme.Orders"\r\n"1.0"\r\n"create"\r\n""\r\n',
    23: fastjson2("2.0.2") + fastjson2("com.acme.Orders") + b"\x00\x00\x00\x01\xaf" + fastjson2("create"),
}


@pytest.mark.parametrize("serialization", FORMS)
def test_service_and_method_are_the_second_and_the_fourth(serialization: int) -> None:
    data = b"head" + FORMS[serialization]
    assert read_names(data, 4, len(data), serialization) == (b"com.acme.Orders", b"create")
    for end in range(4, data.index(b"create") + 5):
        with pytest.raises(CutError):
            read_names(data, 4, end, serialization)


@pytest.mark.parametrize(
    ("serialization", "data"),
    [
        (2, b"\x052.0.2I\x00\x00\x00\x01"),  # a number
        (6, b'"2.0.2"\n{"a":1}\n"1"\n"m"\n'),
        (6, b'"2.0.2"\n"\\x"\n"1"\n"m"\n'),
        (6, b'"2.0.2"\n"\n"1"\n"m"\n'),
        (23, fastjson2("2.0.2") + b"\x00\x00\x00\x02\x7bx"),
        (23, fastjson2("2.0.2") + b"\x00\x00\x00\x01\x79"),
        (8, b"\x052.0.2"),
    ],
)
def test_what_is_no_string_is_not_guessed(serialization: int, data: bytes) -> None:
    assert read_names(data, 0, len(data), serialization) is None


@given(st.binary(max_size=60), st.sampled_from([2, 6, 16, 23, 9]))
def test_nothing_else_is_ever_raised(data: bytes, serialization: int) -> None:
    read_string(data, 0, len(data), serialization)
    try:
        read_names(data, 0, len(data), serialization)
    except CutError:
        pass
