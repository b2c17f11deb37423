"""Bytes that are no Dubbo2, from either side: who sent them is closed and the reason is logged; nobody else
notices.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.system.dubbo.frames import CALL, SIZE, Frames, call, frame
from tests.system.dubbo.own import Callers, Shuffler, listening
from tests.system.process import wait_for
from tests.system.proxy import Proxy


@pytest.fixture(scope="module")
def provider(namespace: None) -> Iterator[Shuffler]:
    with Shuffler(slow=1.0) as provider:
        yield provider


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"ls\r\n", "no Dubbo2 frame, but text"),
        (b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n", "no Dubbo2 frame, but text"),
        (call(1, "slow", b"a") + b"\xda\xbc" + bytes(14), "no Dubbo2 frame, but no magic number"),
        (frame(CALL, 1, b"")[: SIZE - 4] + b"\xff\xff\xff\xf0", "a frame of 4294967280 bytes is impossible"),
        (frame(CALL, 1, b"")[: SIZE - 4] + b"\x01\x00\x00\x00", "16777216 bytes is more than max_frame"),
        (call(7, "slow", b"a") + call(7, "slow", b"b"), "id 7 is in flight already"),
    ],
    ids=["telnet", "http", "magic", "negative", "too-long", "id-twice"],
)
def test_a_client_that_breaks_the_protocol_is_closed_alone(provider: Shuffler, data: bytes, why: str) -> None:
    with Proxy(provider.address, protocol="dubbo", upstream={"max_connections": 1}) as proxy:
        before = provider.stats()["calls"].get("slow", 0)
        with Callers(proxy.host, proxy.port, connections=5, calls=1, method="slow") as others:
            wait_for(
                lambda: provider.stats()["calls"].get("slow", 0) == before + 5,
                within=20,
                what="others are in flight",
            )
            with socket.create_connection((proxy.host, proxy.port)) as bad:
                bad.settimeout(10)
                bad.sendall(data)
                with contextlib.suppress(ConnectionResetError):
                    assert bad.recv(4096) == b""
            assert others.ends()["ends"] == {"right": 5}
        outcomes = proxy.outcomes()
        assert outcomes.pop("bad_request") == 1
        outcomes.pop("client_broke", 0)  # the call before it, where there was one
        assert outcomes == {"ok": 5}
        proxy.stop()
        assert "reason=bad_request count=1 last=" in proxy.log()
        assert why in proxy.log()


@pytest.mark.parametrize("size", [5, SIZE, 40])
def test_a_client_that_ends_in_the_middle_of_a_frame_is_told_in_the_log(
    provider: Shuffler, size: int
) -> None:
    with Proxy(provider.address, protocol="dubbo") as proxy:
        with socket.create_connection((proxy.host, proxy.port)) as bad:
            bad.sendall(call(1, "echo", b"token")[:size])
            wait_for(lambda: proxy.backend()["bytes"]["from_clients"] == size, within=10, what="it has come")
        wait_for(lambda: proxy.outcomes() == {"client_broke": 1}, within=10, what="it is counted")
        proxy.stop()
        assert "the connection ended in the middle of a frame" in proxy.log()


def test_a_provider_that_says_telnet_is_closed_and_its_callers_told() -> None:
    with (
        listening() as sock,
        Proxy(
            "{}:{}".format(*sock.getsockname()), protocol="dubbo", upstream={"max_connections": 1}
        ) as proxy,
        Callers(proxy.host, proxy.port, connections=2, calls=1) as load,
    ):
        peer, _ = sock.accept()
        with peer:
            frames = Frames()
            got = []
            while len(got) < 2:
                got += frames.feed(peer.recv(4096))
            peer.sendall(b"Unsupported command: frames\r\ndubbo>")
            end = load.ends()
            assert peer.recv(4096) == b""
        assert end["ends"] == {"refused 80": 2}
        assert all("no Dubbo2 frame, but text" in text for text in end["texts"])


def test_a_provider_that_answers_no_heartbeat_is_closed_and_left_alone() -> None:
    with (
        Shuffler(silent=True, slow=30.0) as silent,
        Proxy(
            silent.address,
            protocol="dubbo",
            dubbo={"heartbeat": "300ms", "heartbeat_misses": 2},
            # a connection that is suspect is asked besides, which is not what is counted here
            upstream={
                "max_connections": 1,
                "backoff_min": "500ms",
                "backoff_max": "500ms",
                "suspect_after": "1m",
            },
        ) as proxy,
        Callers(proxy.host, proxy.port, connections=3, calls=1, method="slow", waits=True) as load,
    ):
        wait_for(lambda: proxy.backend()["clients"] == 3, within=20, what="all are connected")
        load.go()  # at once: who came when the silent one is closed would have another connection
        end = load.ends()
        assert end["ends"] == {"refused 80": 3}
        assert set(end["texts"]) == {f"muxproxy: orders: {silent.address}: no answer to 2 heartbeats"}
        assert silent.stats()["others"] == {"e2": 2}
        assert proxy.backend()["closed"] == {"silent": 1}
        assert "server is silent" in proxy.log()


def test_callbacks_are_refused_to_the_provider_and_the_call_goes_on() -> None:
    with (
        Shuffler() as provider,
        Proxy(provider.address, protocol="dubbo") as proxy,
        Callers(proxy.host, proxy.port, connections=5, calls=4, method="callback") as load,
    ):
        assert load.ends()["ends"] == {"right": 20}
        wait_for(lambda: provider.stats()["others"].get("02") == 20, within=10, what="20 refusals came")
        assert proxy.backend()["events"]["callbacks_refused"] == 20


def test_a_provider_that_announces_its_end_finishes_what_it_has_and_gets_nothing_new() -> None:
    with (
        Shuffler(slow=0.5) as one,
        Proxy(one.address, protocol="dubbo", upstream={"max_connections": 2}) as proxy,
        Callers(proxy.host, proxy.port, connections=4, calls=1, method="slow") as before,
    ):
        wait_for(lambda: one.stats()["calls"].get("slow") == 4, within=20, what="four are in hand")
        with Callers(proxy.host, proxy.port, connections=1, calls=1, method="readonly") as last:
            assert last.ends()["ends"] == {"right": 1}
        assert before.ends()["ends"] == {"right": 4}
        wait_for(lambda: one.stats()["open"] == 0, within=10, what="that connection is closed")
        with Callers(proxy.host, proxy.port, connections=4, calls=5) as after:
            assert after.ends()["ends"] == {"right": 20}
        seen = one.stats()
        assert (seen["connections"], seen["open"]) == (2, 1)
        assert proxy.backend()["events"]["read_only"] == 1


def test_large_replies_of_many_calls_come_whole_and_to_whom_they_belong() -> None:
    """A mebibyte each, sixteen at once for each of four consumers, over two connections."""
    with (
        Shuffler(big=1024 * 1024) as provider,
        Proxy(
            provider.address,
            protocol="dubbo",
            # On a busy machine they may read nothing for a second while the others wait.
            clients={"hold_timeout": "60s"},
            upstream={"max_connections": 2, "min_connections": 2},
        ) as proxy,
        Callers(proxy.host, proxy.port, connections=4, calls=32, flight=16, method="big") as load,
    ):
        assert load.ends()["ends"] == {"right": 128}
        assert proxy.outcomes() == {"ok": 128}


def test_a_reply_that_does_not_come_is_31_and_costs_nobody_a_connection() -> None:
    with (
        Shuffler() as provider,
        Proxy(
            provider.address,
            protocol="dubbo",
            # They prove that the provider lives, and may be late: it is not closed for a busy machine.
            dubbo={"heartbeat": "200ms", "heartbeat_misses": 100},
            # So late may the replies be that do come.
            upstream={"max_connections": 1, "reply_timeout": "3500ms"},
        ) as proxy,
    ):
        with Callers(proxy.host, proxy.port, connections=5, calls=1, method="mute") as load:
            end = load.ends()
        assert end["ends"] == {"refused 31": 5}
        assert set(end["texts"]) == {f"muxproxy: {provider.address}: no reply for 3.5 s"}
        wait_for(
            lambda: proxy.backend()["events"].get("replies_that_never_came") == 5,
            within=10,
            what="they are forgotten",
        )
        with Callers(proxy.host, proxy.port, connections=5, calls=5) as load:
            assert load.ends()["ends"] == {"right": 25}
        backend = proxy.backend()
        assert (backend["connects"], backend["closed"], backend["in_flight"]) == (1, {}, 0)
