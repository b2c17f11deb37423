"""Ten times what the origin can do: it stays fully used, and nobody is left in doubt.

The origin serves 8 requests at a time in 10 ms each, so 800 a second at the very most; what it really does
is measured first, directly. The clients come in open loop, ten times as many a second whether or not the
earlier ones were served, for ten seconds. They keep connections as a client's pool does: the last used is
used again, a new one is opened when none is free. The second case has a connection for each request, and a
slower origin, so that it is the origin that is overloaded and not the two cores, which the clients need as
well.
"""

from __future__ import annotations

import pytest

from tests.system.load import REFUSED, RIGHT, Plan, percentile, run
from tests.system.origins import Program
from tests.system.process import wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler

SLOTS = 8
QUEUE_TIMEOUT = 0.5
# What two busy cores add at worst between a deadline in the proxy and the same moment as the client sees it.
MARGIN = 0.3
REFUSED_AT_ONCE = 0.1  # 99 % of refusals, seconds from connect() to the end of the reply


@pytest.mark.parametrize(
    ("service", "keep_alive", "seconds"),
    [(0.010, True, 10), (0.050, False, 5)],
    ids=["ten-milliseconds-each", "a-connection-for-each-request"],
)
def test_an_overload_leaves_the_origin_fully_used_and_is_over_when_it_is_over(
    service: float, keep_alive: bool, seconds: int
) -> None:
    nominal = SLOTS / service
    with (
        Program("slots", seconds=service) as origin,
        Proxy(
            origin.address,
            upstream={"max_connections": SLOTS},
            # More may wait than can be served in time, so that the queue's timeout has work too.
            queue={
                "max_waiting": int(nominal * QUEUE_TIMEOUT * 1.2),
                "timeout": f"{QUEUE_TIMEOUT * 1000:.0f}ms",
            },
        ) as proxy,
    ):
        alone = Plan(origin.host, origin.port, parallel=SLOTS, requests=int(2 * nominal), keep_alive=True)
        capacity = run(alone, within=30).per_second
        assert 0.8 * nominal < capacity <= nominal
        rate = 10 * nominal
        plan = Plan(
            proxy.host,
            proxy.port,
            parallel=9_000,
            requests=int(rate * seconds),
            rate=rate,
            keep_alive=keep_alive,
            patience=30,
        )
        with Sampler(origin.address, every=0.02) as sampler:
            results = run(plan, within=90)
            tally = sampler.result()
        status = wait_for(lambda: drained(proxy), within=5, what="an empty queue")
    began = min(record.began for record in results.records)
    served = sum(record.ended < began + seconds for record in results.of(RIGHT))
    print(
        f"served {served} in {seconds} s, {served / seconds / capacity:.3f} of {capacity:.0f}/s, its capacity"
    )
    print(results.summary(), results.times(REFUSED), f"worst start {results.late * 1000:.0f} ms late")
    print(status["outcomes"], tally)
    # The load was what it says it is: all were started, hardly any late.
    assert results.skipped == 0
    assert len(results.records) == plan.requests
    # P2, P3, and P8: a right reply or an explicit refusal, in the client's language.
    assert set(results.outcomes) == {RIGHT, REFUSED}, results.examples
    assert set(results.statuses) == {200, 503}
    assert 1 <= tally.held <= SLOTS, tally
    assert sum(sum(reasons.values()) for reasons in status["outcomes"].values()) == plan.requests
    # At least 95 % of what the origin can do, while the overload lasts.
    assert served >= 0.95 * capacity * seconds
    # Refusals by a full queue are answered at once (those by its timeout come when it is over); nobody who
    # was let in waits longer than the queue allows.
    by_full_queue = status["outcomes"]["refused"]["queue_full"]
    refused = sorted(record.took for record in results.of(REFUSED))
    assert percentile(refused[:by_full_queue], 99) < REFUSED_AT_ONCE
    assert max(record.took for record in results.records) <= QUEUE_TIMEOUT + service + MARGIN


def drained(proxy: Proxy) -> dict[str, dict[str, dict[str, int]]]:
    """The backend's status once nobody waits and nothing is under way."""
    backend = proxy.backend()
    return backend if backend["waiting"] == backend["in_flight"] == backend["clients"] == 0 else {}
