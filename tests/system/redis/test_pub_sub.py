"""Listeners while something goes wrong: one is too slow, or the connection they share is lost."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from tests.system.process import wait_for
from tests.system.proxy import memory
from tests.system.redis.proxied import proxied
from tests.system.redis.server import RedisServer
from tests.system.redis.wire import Wire, command

BUFFER = 1 << 20


def listener(address: str, protocol: int, *channels: str, receive_buffer: int = 0) -> Wire:
    wire = Wire(address)
    if receive_buffer:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    wire.ask("HELLO", protocol)
    wire.send(command("SUBSCRIBE", *channels))
    wire.replies(len(channels))
    return wire


def test_a_subscriber_that_does_not_read_is_cut_and_the_others_do_not_notice(clean: RedisServer) -> None:
    """P5: it costs memory up to subscriber_buffer, then its own connection."""
    size, number = 64 << 10, 400  # 25 MiB: more than all the kernel's buffers on the way
    with proxied(clean, redis={"subscriber_buffer": "1MiB"}) as proxy, ExitStack() as stack:
        (worker,) = proxy.workers()
        slow = stack.enter_context(listener(proxy.address, 2, "news", receive_buffer=4096))
        others = [stack.enter_context(listener(proxy.address, protocol, "news")) for protocol in (2, 3, 3)]
        before = memory(worker, "VmHWM")
        with clean.direct() as publisher:
            for serial in range(number):
                assert publisher.ask("PUBLISH", "news", b"%06d" % serial + b"x" * size) == b":2\r\n"
                for wire in others:
                    assert b"%06dxxx" % serial in wire.reply()[:80]
        wait_for(lambda: proxy.backend()["pushed"]["cut"] == 1, within=10, what="the slow one is cut")
        assert memory(worker, "VmHWM") - before < 4 * BUFFER
        assert len(slow.rest()) < number * size
        assert proxy.backend()["listening"]["subscribers"] == 3


def test_subscriptions_are_restored_after_a_loss_and_the_gap_is_counted_and_logged(
    clean: RedisServer,
) -> None:
    with proxied(clean) as proxy, ExitStack() as stack:
        wires = [
            stack.enter_context(listener(proxy.address, protocol, "news", "sport")) for protocol in (2, 2, 3)
        ]
        wires[0].send(command("PSUBSCRIBE", "n*"))
        wires[0].reply()
        for gap in (1, 2):
            assert clean.ask("CLIENT", "KILL", "TYPE", "pubsub") == b":2\r\n"
            wait_for(
                lambda: (
                    clean.ask("PUBSUB", "NUMSUB", "sport", "news").count(b":2\r\n") == 2
                    and clean.ask("PUBSUB", "NUMPAT") == b":1\r\n"
                ),
                within=10,
                what="everything is subscribed again",
            )
            assert proxy.backend()["listening"]["gaps"] == 2 * gap  # one per connection
            assert clean.ask("PUBLISH", "news", f"after {gap}") == b":3\r\n"
            wanted = f"after {gap}".encode()
            assert sorted(wanted in wire.reply() for wire in [*wires, wires[0]]) == [True] * 4
        assert "gap" in proxy.log()
        # The connections are what they were: no acknowledgement came twice, and they can be left.
        wires[0].send(command("UNSUBSCRIBE", "news"))
        assert wires[0].reply() == b"*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:2\r\n"
        for wire in wires:
            wire.close()
        wait_for(
            lambda: (
                clean.ask("PUBSUB", "NUMPAT") == b":0\r\n" and clean.ask("PUBSUB", "CHANNELS") == b"*0\r\n"
            ),
            within=10,
            what="the last have left their pattern and their channels",
        )


def test_a_server_that_is_gone_for_a_while_is_listened_to_again(namespace: None) -> None:
    with RedisServer() as server, proxied(server) as proxy, listener(proxy.address, 2, "news") as wire:
        server.kill()
        server.start()
        wait_for(
            lambda: server.ask("PUBSUB", "NUMSUB", "news").endswith(b":1\r\n"),
            within=10,
            what="it is subscribed again",
        )
        server.ask("PUBLISH", "news", "back")
        assert wire.reply() == b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$4\r\nback\r\n"
