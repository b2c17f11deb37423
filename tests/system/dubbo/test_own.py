"""The provider and the consumers that judge, judged: directly with one another."""

from __future__ import annotations

import socket

from tests.system.dubbo.frames import BEAT, BEAT_REPLY, CALL, OK, REPLY, Frames, call, frame, reply
from tests.system.dubbo.own import Callers, Shuffler, listening
from tests.system.process import wait_for


def test_every_caller_gets_its_own_replies_though_ids_collide_and_order_is_random() -> None:
    with (
        Shuffler() as provider,
        Callers(provider.host, provider.port, connections=20, calls=50, flight=5) as load,
    ):
        end = load.ends()
        assert end["ends"] == {"right": 1000}
        assert provider.stats()["calls"] == {"echo": 1000}


def test_replies_under_wrong_ids_and_with_wrong_tokens_are_told() -> None:
    with listening() as sock, Callers(*sock.getsockname(), connections=1, calls=3, patience=5.0) as load:
        peer, _ = sock.accept()
        with peer:
            frames = Frames()
            assert [tag for _, _, tag, _ in frames.feed(peer.recv(4096))] == [0]
            peer.sendall(reply(0, b"not mine"))
            assert [tag for _, _, tag, _ in frames.feed(peer.recv(4096))] == [1]
            peer.sendall(reply(99, b"nobody's") + frame(REPLY, 1, b"\x04busy", status=100))
            end = load.ends()["ends"]
    assert end == {"wrong": 2, "refused 100": 1, "late": 1}


def test_a_connection_that_is_lost_is_told_and_replaced() -> None:
    with listening() as sock, Callers(*sock.getsockname(), connections=1, calls=2, flight=1) as load:
        peer, _ = sock.accept()
        peer.recv(4096)
        peer.close()
        peer, _ = sock.accept()
        with peer:
            ((_, _, tag, body),) = Frames().feed(peer.recv(4096))
            peer.sendall(frame(REPLY, tag, b"\x91" + body[-(2 + len("t-0-1")) - 1 : -2], OK))
            assert load.ends()["ends"] == {"closed": 1, "connections lost": 1, "right": 1}


def test_the_provider_tells_how_many_it_had_at_once_and_does_what_methods_say() -> None:
    with Shuffler(slow=0.2) as provider, socket.create_connection((provider.host, provider.port)) as peer:
        peer.sendall(b"".join(call(tag, "slow", b"x") for tag in range(7)))
        wait_for(lambda: provider.stats()["peak"].get("slow") == 7, within=20, what="all have arrived")
        frames, seen = Frames(), []
        peer.sendall(call(50, "callback", b"cb") + frame(BEAT, 60, b"N"))
        while len(seen) < 10:
            seen += frames.feed(peer.recv(65536))
        assert sorted(tag for flags, _, tag, _ in seen if flags == REPLY) == [*range(7), 50]
        assert {(flags, tag) for flags, _, tag, _ in seen if flags != REPLY} == {(CALL, 50), (BEAT_REPLY, 60)}
        assert provider.stats()["peak"]["slow"] == 7
