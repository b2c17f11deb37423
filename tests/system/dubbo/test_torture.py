"""1,000 consumer connections whose ids collide on purpose, replies in random order, providers killed.

They are silent before they are killed, and while they are away something that accepts and closes may be
there. Every caller gets its own reply or its own error, and towards both providers together there are never
more than 8 sockets, by the kernel's list. 50,000 calls, at a full run (tests/sizes.py) 500,000;
MUXPROXY_TORTURE says another number.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

from tests.sizes import size
from tests.system.dubbo.own import Callers, pair
from tests.system.origins import accepting_and_closing
from tests.system.process import wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler

CALLS = int(os.environ.get("MUXPROXY_TORTURE") or size(50_000, 500_000))
CONNECTIONS, PROCESSES = 1000, 2
SILENT = 0.6  # seconds


def test_every_caller_gets_its_own_reply_or_its_own_error() -> None:
    one, two = pair()
    with (
        one,
        two,
        Proxy(
            one.address,
            two.address,
            protocol="dubbo",
            upstream={"max_connections": 8, "min_connections": 8, "reply_timeout": "20s"},
            queue={"timeout": "20s", "max_waiting": 5000},
        ) as proxy,
        Sampler(one.address, two.address) as sampler,
        ExitStack() as stack,
    ):
        loads = [
            stack.enter_context(
                Callers(
                    proxy.host,
                    proxy.port,
                    connections=CONNECTIONS // PROCESSES,
                    calls=CALLS // CONNECTIONS,
                    flight=2,
                    tag=f"p{number}",
                )
            )
            for number in range(PROCESSES)
        ]
        for part in range(1, 6):  # a sixth of the way, two sixths ...
            goal = part * CALLS // 6
            wait_for(
                lambda goal=goal: sum(proxy.outcomes().values()) >= goal, within=300, what=f"{goal} calls"
            )
            victim = (one, two)[part % 2]
            if part in (2, 3):  # longer than it takes to be asked, and suspect: the other one serves
                os.kill(victim.child.pid, signal.SIGSTOP)
                time.sleep(SILENT)
                os.kill(victim.child.pid, signal.SIGCONT)
            victim.kill()
            wait_for(
                lambda v=victim: any(
                    s["failures"] for s in proxy.backend()["servers"] if s["address"] == v.address
                ),
                within=10,
                what="the loss is noticed",
            )
            if part in (3, 4):
                with accepting_and_closing(victim.host, victim.port) as accepted:
                    wait_for(lambda a=accepted: len(a) >= 3, within=20, what="connects while it is away")
            victim.start()
        results = [load.ends(within=300) for load in loads]
        ends: dict[str, int] = {}
        for result in results:
            assert result["examples"] == []
            for name, number in result["ends"].items():
                ends[name] = ends.get(name, 0) + number
        print(f"{ends}, slowest {max(r['slowest'] for r in results):.2f} s, {[r['texts'] for r in results]}")
        assert set(ends) <= {"right", "refused 80"}
        assert sum(ends.values()) == CALLS // CONNECTIONS * CONNECTIONS
        assert 0 < ends["refused 80"] < CALLS // 10
        outcomes = proxy.outcomes()
        assert outcomes.pop("ok") == ends["right"]
        assert outcomes == {"server_closed": ends["refused 80"]}
        tally = sampler.result()
        assert tally.held <= 8, tally.worst
        assert tally.held > 4
        assert proxy.backend()["events"].get("unknown_tags", 0) == 0
