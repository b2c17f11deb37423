"""Dubbo as the heart sees it: contract.TaggedProtocol."""

from __future__ import annotations

from muxproxy.config.model import Dubbo, Limit
from muxproxy.protocols.contract import Sharing
from muxproxy.protocols.dubbo import DubboProtocol
from tests.protocols.dubbo import feeding as wire
from tests.protocols.dubbo.feeding import feed, frame, protocol


def test_many_calls_at_once_matched_by_id() -> None:
    dubbo = protocol()
    assert dubbo.sharing is Sharing.TAGGED
    assert not dubbo.half_close
    assert dubbo.session(dubbo.requests()) is None
    assert dubbo.connection(dubbo.replies()) is None
    assert dubbo.feed() is None
    dubbo.drain()


def test_retag_changes_the_id_and_nothing_else() -> None:
    dubbo = protocol()
    call = frame(wire.CALL, 5, b"body")
    for tag in (0, 1, 2**63 + 1, 2**64 - 1):
        assert dubbo.retag(call, tag) == frame(wire.CALL, tag, b"body")
        assert dubbo.retag(dubbo.retag(call, tag), 5) == call


def test_the_probe_is_a_heartbeat_that_no_call_can_be_taken_for() -> None:
    dubbo = protocol()
    assert dubbo.probe() == frame(wire.BEAT, 0, wire.NULL)
    (answer,) = feed(dubbo.requests(), [dubbo.probe()]).asides
    assert answer[0] == frame(wire.BEAT_REPLY, 0, wire.NULL, status=20)


def test_the_configuration_is_passed_on() -> None:
    limits = (Limit("com.acme.Orders", 10, "create"), Limit("com.acme.Stock", 3, timeout=0.2))
    dubbo = DubboProtocol(Dubbo(heartbeat=5.0, heartbeat_misses=2, max_frame=1000, limits=limits))
    assert (dubbo.probe_interval, dubbo.probe_misses) == (5.0, 2)
    assert (dubbo.request_buffer, protocol().request_buffer) == (1016, 1024 * 1024 + 16)
    assert [(one.name, one.places, one.timeout) for one in dubbo.limits] == [
        ("com.acme.Orders.create", 10, 0.3),
        ("com.acme.Stock.*", 3, 0.2),
    ]


def test_limits_that_do_not_apply_are_told() -> None:
    dubbo = DubboProtocol(Dubbo(limits=(Limit("com.acme.Orders", 1),)))
    assert dubbo.remarks() == []
    framer = dubbo.requests()
    for serialization in (7, 3, 7, 2):
        framer.feed(frame(0xC0 | serialization, 1, b"\xac\xed\x00\x05w\x05"))
    nativejava, java = dubbo.remarks()
    assert nativejava == (
        "[[dubbo.limits]] do not apply to calls in nativejava (7): "
        "their service and method are not read; 2 came"
    )
    assert "calls in java (3)" in java
    assert protocol().remarks() == []
