"""Settings: which limit a call is under; and the two heartbeat frames."""

from __future__ import annotations

from muxproxy.config.model import Dubbo, Limit
from muxproxy.protocols.dubbo.common import COUNTERS, HEARTBEAT, Settings, heartbeat_reply


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
