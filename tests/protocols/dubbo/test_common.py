"""Settings: which limit a call is under; a header byte by byte; and the two heartbeat frames."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muxproxy.config.model import Dubbo, Limit
from muxproxy.protocols.dubbo import DubboProtocol
from muxproxy.protocols.dubbo.common import COUNTERS, HEADER, HEARTBEAT, Settings, header, heartbeat_reply


def test_the_limit_that_names_the_method_comes_before_the_one_of_its_service() -> None:
    settings = Settings(Dubbo(limits=(Limit("s", 1), Limit("s", 2, "m"), Limit("t", 3, "m"))))
    assert settings.limit_of(b"s", b"m") == 2
    assert settings.limit_of(b"s", b"other") == 1
    assert settings.limit_of(b"t", b"m") == 3
    assert settings.limit_of(b"t", b"other") == 0
    assert settings.limit_of(b"u", b"m") == 0


def test_counters_begin_at_zero_and_are_the_backends_own() -> None:
    one, other = Settings(Dubbo()), Settings(Dubbo())
    one.counters["read_only"] += 1
    assert other.counters == dict.fromkeys(COUNTERS, 0)


def test_a_heartbeat_and_its_reply_differ_in_flags_and_status() -> None:
    assert HEARTBEAT.hex() == "dabbe200" + "00" * 8 + "00000001" + "4e"
    assert heartbeat_reply(HEARTBEAT).hex() == "dabb2214" + "00" * 8 + "00000001" + "4e"


@given(st.binary(max_size=4), st.binary(min_size=16, max_size=16), st.binary(max_size=4))
def test_a_header_says_the_same_byte_by_byte(before: bytes, data: bytes, after: bytes) -> None:
    magic, flags, _, tag, length = HEADER.unpack(data)
    assert header(before + data + after, len(before)) == (magic, flags, tag, length)


@given(
    st.one_of(
        *(st.integers(2**bits - 2, 2**bits + 1) for bits in (8, 31, 32, 61, 62, 63)), st.just(2**64 - 1)
    )
)
def test_ids_of_any_size_are_read_and_written_whole(tag: int) -> None:
    data = HEADER.pack(0xDABB, 0xC2, 0, 1, 2**32 - 1)
    assert header(DubboProtocol(Dubbo()).retag(data, tag), 0) == (0xDABB, 0xC2, tag, 2**32 - 1)
