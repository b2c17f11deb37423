"""muxproxy stops while consumers have calls in flight: they are told, get what they are owed, and nothing new
begins; what is cut off is told that."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.dubbo.frames import EVENT, OK, Frames, call, frame
from tests.system.dubbo.own import Shuffler
from tests.system.dubbo.peers import CONSUMERS, Consumer, RealProvider
from tests.system.process import wait_for
from tests.system.proxy import Proxy

READONLY = frame(EVENT, 0, b"\x01R")


@contextmanager
def one_call(proxy: Proxy) -> Iterator[socket.socket]:
    """A consumer with a call in flight, and muxproxy drains."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as consumer:
        consumer.sendall(call(1, "slow", b"long"))
        wait_for(lambda: proxy.backend()["in_flight"] == 1, within=20, what="it is in flight")
        proxy.process.send_signal(signal.SIGTERM)
        assert consumer.recv(65536) == READONLY
        yield consumer


def test_who_always_has_a_call_in_flight_does_not_keep_the_drain_waiting() -> None:
    with (
        Shuffler(holds=True) as provider,
        Proxy(provider.address, protocol="dubbo", node={"drain_timeout": "60s"}) as proxy,
        one_call(proxy) as consumer,
    ):
        frames = Frames()
        for tag in range(2, 6):
            consumer.sendall(call(tag, "echo", b"new"))
            ((_, status, told, text),) = frames.feed(consumer.recv(65536))
            assert (status, told, text[2:]) == (100, tag, b"muxproxy: orders: muxproxy is stopping")
        provider.release()
        ((_, status, told, _),) = frames.feed(consumer.recv(65536))
        assert (status, told) == (OK, 1)
        assert consumer.recv(65536) == b""
        consumer.close()
        assert proxy.process.wait(20) == 0
        assert provider.stats()["calls"] == {"slow": 1}


def test_what_is_cut_off_is_told_so() -> None:
    with (
        Shuffler(holds=True) as provider,
        Proxy(provider.address, protocol="dubbo", node={"drain_timeout": "300ms"}) as proxy,
        one_call(proxy) as consumer,
    ):
        ((_, status, told, text),) = Frames().feed(consumer.recv(65536))
        said = b"muxproxy: orders: muxproxy is stopping; the request may have been served"
        assert (status, told, text[2:]) == (100, 1, said)
        assert proxy.process.wait(20) == 0


@pytest.mark.parametrize("kind", CONSUMERS)
def test_real_consumers_that_are_told_get_what_they_are_owed(namespace: None, kind: str) -> None:
    with (
        RealProvider("sofa") as provider,
        Proxy(provider.address, protocol="dubbo", node={"drain_timeout": "60s"}) as proxy,
        Consumer(kind, proxy.port) as consumer,
        Consumer("sofa", provider.port) as direct,
    ):
        consumer.tell([{"method": "hold", "args": ["mine"]}])
        wait_for(lambda: proxy.backend()["in_flight"] == 1, within=20, what="it is in flight")
        proxy.process.send_signal(signal.SIGTERM)
        wait_for(lambda: proxy.backend()["draining"], within=20, what="it drains")
        assert direct.call("release") == "released"
        assert [answer.get("value") for answer in consumer.answer()] == ["mine"]
        consumer.close()
        assert proxy.process.wait(20) == 0
