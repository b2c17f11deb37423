"""Providers and consumers that were not written here, mixed with each other: through muxproxy as direct.

What they do on the wire: every client counts ids from 1; dubbo2.js's heartbeats carry id 0, dubbo-py's
heartbeat replies status 0; both providers answer calls that are one-way; dubbo2.js keeps what comes in one
read behind a heartbeat until the next read; a string of 64 KiB and more dubbo-py cannot write, so a large
body is a list.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.system.dubbo.peers import CONSUMERS, PROVIDERS, Consumer, RealProvider
from tests.system.process import wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import SockDiag

MIB = ["0123456789abcde" * 64] * 1093  # 960 characters each, a mebibyte in all


@pytest.fixture(scope="module", params=PROVIDERS)
def provider(request: pytest.FixtureRequest, namespace: None) -> Iterator[RealProvider]:
    with RealProvider(request.param) as provider:
        yield provider


def story(consumer: Consumer) -> list[Any]:
    """Everything in it has one result, and not the order in which replies come."""
    said = [
        consumer.call("echo", "héllo wörld"),
        consumer.call("fail", "no such order"),
        consumer.calls(*[("echo", f"number {n}") for n in range(20)]),
        consumer.calls(("sleep", "120", "slow"), ("sleep", "60", "slower than some"), ("sleep", "1", "fast")),
        consumer.call("echo", MIB) == MIB,
        consumer.calls(("fail", "one"), ("echo", "two"), ("fail", "three")),
    ]
    assert said[4] is True
    return said


@pytest.mark.parametrize("kind", CONSUMERS)
def test_a_consumer_sees_no_difference(provider: RealProvider, kind: str) -> None:
    with Consumer(kind, provider.port) as direct:
        expected = story(direct)
    with Proxy(provider.address, protocol="dubbo", upstream={"max_connections": 2}) as proxy:
        with Consumer(kind, proxy.port) as through:
            assert story(through) == expected
        assert set(proxy.outcomes()) == {"ok"}


def test_attachments_pass(namespace: None) -> None:
    with (
        RealProvider("sofa") as provider,
        Proxy(provider.address, protocol="dubbo") as proxy,
        Consumer("sofa", proxy.port) as sofa,
        Consumer("dubbo-py", proxy.port) as dubbo_py,
        Consumer("dubbo2", proxy.port) as dubbo2,
    ):
        for consumer in (sofa, dubbo_py):
            assert consumer.call("attachment", "trace", attachments={"trace": f"of {consumer.kind}"}) == (
                f"of {consumer.kind}"
            )
        assert dubbo2.call("attachment", "interface") == "com.acme.Orders"  # which it attaches itself


def test_all_consumers_and_all_providers_share_one_muxproxy(namespace: None) -> None:
    with ExitStack() as stack:
        providers = [stack.enter_context(RealProvider(kind)) for kind in PROVIDERS]
        addresses = [provider.address for provider in providers]
        proxy = stack.enter_context(
            Proxy(*addresses, protocol="dubbo", upstream={"max_connections": 4, "min_connections": 4})
        )
        consumers = [stack.enter_context(Consumer(kind, proxy.port)) for kind in CONSUMERS * 2]
        pids = set()
        for turn in range(5):
            for number, consumer in enumerate(consumers):
                consumer.tell(
                    [
                        *({"method": "echo", "args": [f"{number} {turn} {n}"]} for n in range(10)),
                        {"method": "who", "args": []},
                    ]
                )
            for number, consumer in enumerate(consumers):
                *said, who = [answer["value"] for answer in consumer.answer()]
                assert said == [f"{number} {turn} {n}" for n in range(10)]
                pids.add(who)
        assert pids == {provider.pid for provider in providers}
        assert proxy.outcomes() == {"ok": 5 * len(consumers) * 11}
        kernel = stack.enter_context(SockDiag())
        assert sum(len(kernel.sockets(provider.address)) for provider in providers) == 4


def test_a_one_way_call_is_done_and_the_reply_that_comes_all_the_same_is_nobodys(
    provider: RealProvider,
) -> None:
    with (
        Proxy(provider.address, protocol="dubbo", upstream={"max_connections": 1}) as proxy,
        Consumer("dubbo-py", proxy.port) as one_way,
        Consumer("sofa", proxy.port) as other,
    ):
        assert one_way.call("note", "by the way", one_way=True) == "sent"
        assert "by the way" in wait_for(
            lambda: other.call("notes") if other.call("notes") != "none" else "",
            within=10,
            what="it is noted",
        )
        # Direct, dubbo-py takes that reply for its next call's.
        assert one_way.call("echo", "mine") == "mine"
        assert proxy.backend()["events"]["unknown_tags"] == 1
        assert proxy.backend()["in_flight"] == 0
        assert proxy.backend()["connects"] == 1


def test_heartbeats_of_all_consumers_are_answered_and_lose_no_call(provider: RealProvider) -> None:
    with (
        Proxy(provider.address, protocol="dubbo", upstream={"max_connections": 1}) as proxy,
        Consumer("sofa", proxy.port) as sofa,
        Consumer("dubbo-py", proxy.port) as dubbo_py,
        Consumer("dubbo2", proxy.port, heartbeat=20) as dubbo2,
    ):
        for turn in range(30):
            for consumer in (sofa, dubbo_py):
                consumer.beat()
            for consumer in (sofa, dubbo_py, dubbo2):
                said = consumer.calls(*[("echo", f"{turn} {n}") for n in range(8)])
                assert said == [f"{turn} {n}" for n in range(8)]
        events = proxy.backend()["events"]
        assert events["heartbeats_answered"] > 30
        assert proxy.outcomes().keys() == {"ok", "local"}
        assert proxy.outcomes()["ok"] == 30 * 3 * 8


def test_heartbeats_are_sent_to_providers_who_answer_as_they_do(provider: RealProvider) -> None:
    with Proxy(
        provider.address,
        protocol="dubbo",
        dubbo={"heartbeat": "100ms", "heartbeat_misses": 100},
        upstream={"max_connections": 2, "min_connections": 2},
    ) as proxy:
        with Consumer("sofa", proxy.port) as consumer:
            for n in range(10):  # nobody speaks meanwhile; dubbo-py answers nothing while it sleeps
                assert consumer.call("sleep", "250", f"{n}") == f"{n}"
        backend = proxy.backend()
        assert backend["closed"] == {}
        assert backend["connects"] == 2


def test_heartbeats_of_providers_are_answered(namespace: None) -> None:
    with (
        RealProvider("dubbo-py", heartbeat=0.05) as provider,
        Proxy(provider.address, protocol="dubbo", upstream={"min_connections": 1}) as proxy,
        Consumer("dubbo2", proxy.port) as consumer,
    ):
        wait_for(
            lambda: proxy.backend()["events"]["heartbeats_answered"] >= 10, within=10, what="10 heartbeats"
        )
        assert consumer.call("echo", "still here") == "still here"
        assert proxy.backend()["closed"] == {}


def test_a_lost_provider_is_the_consumers_exception_and_the_others_go_on(namespace: None) -> None:
    with ExitStack() as stack:
        one, two = (stack.enter_context(RealProvider("sofa")) for _ in range(2))
        proxy = stack.enter_context(
            Proxy(
                one.address,
                two.address,
                protocol="dubbo",
                upstream={"max_connections": 2, "min_connections": 2},
            )
        )
        wait_for(lambda: proxy.backend()["upstream"]["idle"] == 2, within=10, what="both are connected")
        consumer, other = (stack.enter_context(Consumer("sofa", proxy.port)) for _ in range(2))
        consumer.tell([{"method": "hold", "args": [f"{n}"]} for n in range(6)])
        wait_for(lambda: proxy.backend()["in_flight"] == 6, within=20, what="all are in flight")
        one.close()
        wait_for(lambda: proxy.backend()["in_flight"] == 3, within=20, what="its three are lost")
        assert other.call("release") == "released"
        answers = consumer.answer()
        errors = [answer["error"] for answer in answers if "error" in answer]
        assert len(errors) == 3
        assert all("muxproxy: orders: " + one.address in error for error in errors)
        assert sorted(answer["value"] for answer in answers if "value" in answer) == sorted(
            f"{n}" for n, answer in enumerate(answers) if "value" in answer
        )
        assert consumer.calls(*[("who",)] * 5) == [two.pid] * 5
