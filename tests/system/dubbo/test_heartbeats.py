"""Consumers that ask whether we live while a call of theirs is in flight: Java's do each `heartbeat`, and
break off when they hear nothing for `heartbeat.timeout`."""

from __future__ import annotations

import socket

from tests.system.dubbo.frames import BEAT, BEAT_REPLY, REPLY, Frames, call, frame
from tests.system.dubbo.own import Shuffler
from tests.system.proxy import Proxy


def test_heartbeats_are_answered_at_once_while_a_call_is_owed() -> None:
    with (
        Shuffler(holds=True) as provider,
        Proxy(provider.address, protocol="dubbo") as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as consumer,
    ):
        frames = Frames()
        consumer.sendall(call(0, "slow", b"long"))
        for tag in range(1, 6):
            consumer.sendall(frame(BEAT, tag, b"N"))
            assert consumer.recv(65536) == frame(BEAT_REPLY, tag, b"N", status=20)
        provider.release()
        ((flags, _, tag, _),) = frames.feed(consumer.recv(65536))
        assert (flags, tag) == (REPLY, 0)
        assert proxy.outcomes() == {"ok": 1, "local": 5}
