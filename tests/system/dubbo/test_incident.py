"""The third incident in numbers: a consumer set to 1,000 connections x 10 interfaces x 2 providers.

That is 20,000 long connections, and a process may have 20,000 descriptors: scaled by 10, to 100 x 10 x 2.
Counted are the kernel's sockets at the providers, direct and through muxproxy.
"""

from __future__ import annotations

from contextlib import ExitStack

from tests.system.dubbo.own import Callers, pair
from tests.system.process import wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import SockDiag

CONNECTIONS, INTERFACES, MAX = 100, 10, 8


def consumer(host: str, port: int) -> Callers:
    """With so many connections to that provider, for every interface. Each makes a call when all are
    connected, and its connections last until all calls are done."""
    return Callers(
        host,
        port,
        connections=CONNECTIONS * INTERFACES,
        calls=1,
        method="slow",
        waits=True,
        services=[f"com.acme.Service{number}" for number in range(INTERFACES)],
        patience=100,
    )


def test_twenty_thousand_connections_become_eight() -> None:
    one, two = pair(slow=1.0)
    with SockDiag() as kernel, ExitStack() as stack:
        for provider in (one, two):
            stack.enter_context(provider)

        def at_providers() -> int:
            return sum(len(kernel.sockets(p.address, states=("ESTABLISHED",))) for p in (one, two))

        loads = [stack.enter_context(consumer(provider.host, provider.port)) for provider in (one, two)]
        wait_for(lambda: at_providers() >= 2000, within=60, what="all are connected, directly")
        direct = at_providers()
        for load in loads:
            load.go()
        for load in loads:
            assert load.ends()["ends"] == {"right": 1000}
        wait_for(lambda: at_providers() == 0, within=10, what="they are gone")

        proxy = stack.enter_context(
            Proxy(
                one.address,
                two.address,
                protocol="dubbo",
                # All may call in one turn of the loop, before the first connection is there.
                queue={"max_waiting": 2 * CONNECTIONS * INTERFACES},
                upstream={"max_connections": MAX, "max_in_flight": 1000},
            )
        )
        loads = [stack.enter_context(consumer(proxy.host, proxy.port)) for _ in range(2)]
        wait_for(lambda: proxy.backend()["clients"] == 2000, within=60, what="all are connected, to muxproxy")
        for load in loads:
            load.go()
        wait_for(lambda: proxy.outcomes().get("ok", 0) > 0, within=30, what="replies")
        through = at_providers()
        for load in loads:
            assert load.ends()["ends"] == {"right": 1000}
        print(f"sockets at the providers: {direct} direct, {through} through muxproxy")
        assert direct == 2000
        assert 0 < through <= MAX
