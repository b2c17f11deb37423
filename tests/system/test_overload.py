"""Ten times what the origin can do, for ten seconds: it stays fully used, and nobody is left in doubt.

The origin serves 8 requests at a time in 10 ms each, so 800 a second at the very most; what it really does is
measured first, directly. `max_connections` is a little more than 8, as an operator would set it, so that the
next request is already there when the origin has finished one. The clients come in open loop, 8,000 a
second whether or not the earlier ones were served, each on a connection of its own, which makes every
refusal cost an accept and a close.
"""

from __future__ import annotations

from tests.system.load import REFUSED, RIGHT, Plan, percentile, run
from tests.system.origins import Program
from tests.system.process import wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler

SECONDS = 10
RATE = 8_000
SLOTS = 8
BOUND = 12
QUEUE_TIMEOUT = 0.5
SERVICE = 0.020  # up to one slot's time in the origin's own line, and one in the slot
# What two busy cores add at worst between a deadline in the proxy and the same moment as the client sees it.
MARGIN = 0.5
REFUSED_AT_ONCE = 0.1  # 99 % of refusals, seconds from connect() to the end of the reply


def test_an_overload_leaves_the_origin_fully_used_and_is_over_when_it_is_over() -> None:
    with (
        Program("slots") as origin,
        Proxy(
            origin.address,
            upstream={"max_connections": BOUND},
            # 300 wait for 300 / 800 s: whoever is let in is served within the queue's timeout.
            queue={"max_waiting": 300, "timeout": f"{QUEUE_TIMEOUT * 1000:.0f}ms"},
            clients={"backlog": 4096},
        ) as proxy,
    ):
        alone = Plan(origin.host, origin.port, parallel=2 * SLOTS, requests=1600, keep_alive=True)
        direct = run(alone, within=30)
        capacity = direct.per_second
        print(f"capacity, measured directly: {capacity:.0f}/s")
        with Sampler(origin.port) as sampler:
            plan = Plan(
                proxy.host, proxy.port, parallel=15_000, requests=RATE * SECONDS, rate=RATE, patience=30
            )
            results = run(plan, within=90)
            tally = sampler.result()
        status = wait_for(lambda: drained(proxy), within=5, what="an empty queue")
    print(results.summary(), f"worst start {results.late * 1000:.0f} ms late")
    print(results.times(REFUSED), status["outcomes"])
    # The load was what it says it is.
    assert results.skipped == 0
    assert len(results.records) == RATE * SECONDS
    # P2, P3, and P8: a right reply or an explicit refusal, in the client's language.
    assert set(results.outcomes) == {RIGHT, REFUSED}, results.examples
    assert set(results.statuses) == {200, 503}
    assert 1 <= tally.held <= BOUND, tally
    # At least 95 % of what the origin can do.
    served = results.outcomes[RIGHT]
    assert served >= 0.95 * capacity * SECONDS, f"{served} of {capacity * SECONDS:.0f}"
    # Refusals are answered at once, and no request that was let in waits longer than the queue allows.
    refused = sorted(record.took for record in results.of(REFUSED))
    assert percentile(refused, 99) < REFUSED_AT_ONCE
    assert max(record.took for record in results.of(RIGHT)) <= QUEUE_TIMEOUT + SERVICE + MARGIN


def drained(proxy: Proxy) -> dict[str, object]:
    """The backend's status once nobody waits and nothing is under way."""
    backend = proxy.backend()
    return backend if backend["waiting"] == backend["in_flight"] == backend["clients"] == 0 else {}
