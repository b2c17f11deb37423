"""`actives = 10` on one method: the provider never sees the eleventh at once, whoever calls; other methods do
not notice; refusals are the consumer's exception.
"""

from __future__ import annotations

import signal
import socket

from tests.system.dubbo.frames import frame
from tests.system.dubbo.own import Callers, Shuffler
from tests.system.dubbo.peers import Consumer, RealProvider
from tests.system.process import wait_for
from tests.system.proxy import Proxy

SLOW = 0.05
CALLS = 8  # each of a hundred: 4 s, ten at a time


def limit(method: str = "", timeout: str = "60s") -> dict[str, list[dict[str, object]]]:
    of = {"method": method} if method else {}
    return {"limits": [{"service": "com.acme.Orders", "actives": 10, "timeout": timeout, **of}]}


def test_the_provider_never_sees_the_eleventh_at_once_and_others_are_not_slowed() -> None:
    with (
        Shuffler(slow=SLOW, holds=True) as provider,
        Proxy(
            provider.address, protocol="dubbo", dubbo=limit("slow"), upstream={"max_connections": 2}
        ) as proxy,
        Callers(proxy.host, proxy.port, connections=100, calls=CALLS, method="slow", waits=True) as limited,
        Callers(proxy.host, proxy.port, connections=10, calls=20, method="echo", waits=True) as others,
    ):
        wait_for(lambda: proxy.backend()["clients"] == 110, within=20, what="all are connected")
        limited.go()
        wait_for(
            lambda: proxy.backend()["limited"]["com.acme.Orders.slow"]["waiting"] == 90,
            within=10,
            what="ninety wait their turn",
        )
        assert proxy.backend()["waiting"] == 0
        others.go()
        # The others are through while none of these is answered.
        assert others.ends()["ends"] == {"right": 200}
        assert proxy.backend()["limited"]["com.acme.Orders.slow"]["waiting"] == 90
        provider.release()
        assert limited.ends()["ends"] == {"right": 100 * CALLS}
        seen = provider.stats()
        assert seen["peak"]["slow"] == 10
        assert seen["calls"] == {"slow": 100 * CALLS, "echo": 200}
        # All but the first ten; on a busy machine now and then one comes when a place is just free.
        waited = proxy.backend()["limited"]["com.acme.Orders.slow"]["waited"]
        assert 100 * CALLS - 100 <= waited <= 100 * CALLS - 10


def test_who_waits_in_vain_is_refused_with_100_and_what_it_waited_for() -> None:
    with (
        Shuffler(holds=True) as provider,
        Proxy(provider.address, protocol="dubbo", dubbo=limit(timeout="200ms")) as proxy,
        Callers(proxy.host, proxy.port, connections=30, calls=1, method="slow") as load,
    ):
        wait_for(lambda: proxy.outcomes().get("limit_timeout") == 20, within=20, what="twenty are refused")
        provider.release()
        end = load.ends()
        assert end["ends"] == {"right": 10, "refused 100": 20}
        text = "muxproxy: orders: com.acme.Orders.*: waited 0.2 s for one of 10 places"
        assert end["texts"] == {text: 20}
        assert proxy.outcomes() == {"ok": 10, "limit_timeout": 20}
        assert provider.stats()["peak"]["slow"] == 10


def test_clients_that_leave_do_not_let_the_eleventh_in() -> None:
    with (
        Shuffler(holds=True) as provider,
        Proxy(provider.address, protocol="dubbo", dubbo=limit("slow")) as proxy,
    ):
        with Callers(proxy.host, proxy.port, connections=10, calls=1, method="slow") as gone:
            wait_for(lambda: provider.stats()["calls"].get("slow") == 10, within=20, what="ten are in hand")
            gone.process.kill()
        wait_for(lambda: proxy.backend()["clients"] == 0, within=20, what="the ten have left")
        with Callers(proxy.host, proxy.port, connections=10, calls=1, method="slow") as load:
            wait_for(
                lambda: proxy.backend()["limited"]["com.acme.Orders.slow"]["waiting"] == 10,
                within=20,
                what="the next ten wait",
            )
            assert provider.stats()["calls"] == {"slow": 10}
            provider.release()
            assert load.ends()["ends"] == {"right": 10}
        assert provider.stats()["peak"]["slow"] == 10


def test_a_real_consumer_gets_it_as_its_exception_and_a_real_provider_never_more_than_ten() -> None:
    with (
        RealProvider("sofa") as provider,
        Proxy(provider.address, protocol="dubbo", dubbo=limit("hold", "300ms")) as proxy,
        Consumer("sofa", proxy.port) as sofa,
        Consumer("dubbo2", proxy.port) as dubbo2,
        Consumer("sofa", proxy.port) as third,
    ):
        calls = [{"method": "hold", "args": ["held"]}] * 10
        sofa.tell(calls)
        dubbo2.tell(calls)
        wait_for(lambda: proxy.outcomes().get("limit_timeout") == 10, within=20, what="ten are refused")
        assert third.call("release") == "released"
        answers = [*sofa.answer(), *dubbo2.answer()]
        errors = [answer["error"] for answer in answers if "error" in answer]
        assert len(errors) == 10
        text = "muxproxy: orders: com.acme.Orders.hold: waited 0.3 s for one of 10 places"
        assert all(
            error.endswith(text) for error in errors
        )  # dubbo2.js shows the body as it is, length first
        assert sofa.call("peak") == "10"


def test_calls_that_no_limit_can_be_read_of_are_told_in_status_and_once_in_the_log(namespace: None) -> None:
    """Java's own serialization: what the provider makes of it is its own."""
    body = bytes.fromhex("aced00057725") + b"\x00\x052.0.2\x00\x0fcom.acme.Orders"
    with (
        RealProvider("sofa") as provider,
        Proxy(provider.address, protocol="dubbo", dubbo=limit()) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as consumer,
    ):
        for tag in range(3):
            consumer.sendall(frame(0xC7, tag, body))
        told = "[[dubbo.limits]] do not apply to calls in nativejava (7)"
        remarks = wait_for(lambda: proxy.backend()["remarks"], within=20, what="status tells")
        assert told in remarks[0]
        consumer.close()
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(20) == 0
        assert proxy.log().count(told) == 1
