"""Ten times what the origin can do: it stays fully used, and nobody is left in doubt.

The origin serves 8 requests at a time in 10 ms each, so 800 a second at the very most; what it really does
is measured first, directly. The clients come in open loop, ten times as many a second whether or not the
earlier ones were served, for some seconds. They keep connections as a client's pool does: the last used is
used again, a new one is opened when none is free. The second case has a connection for each request, and a
slower origin, so that it is the origin that is overloaded and not the two cores, which the clients need as
well. What the machine itself was late, which others may keep busy, is nobody's fault and is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.sizes import size
from tests.system.lateness import Lateness
from tests.system.load import REFUSED, RIGHT, Load, Plan, Record, percentile, run
from tests.system.origins import Program
from tests.system.process import wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler

SLOTS = 8
QUEUE_TIMEOUT = 0.5
# What two busy cores add at worst between a deadline in the proxy and the same moment as the client sees it.
MARGIN = 0.3
HEADROOM = 1.4  # of what the machine can refuse: the load is to be steady
REFUSED_AT_ONCE = 0.1  # 99 % of refusals, seconds from connect() to the end of the reply


@contextmanager
def stage(service: float) -> Iterator[tuple[Program, Proxy]]:
    """An origin that serves eight at a time in so many seconds, and muxproxy before it."""
    with (
        Program("slots", seconds=service) as origin,
        Proxy(
            origin.address,
            upstream={"max_connections": SLOTS},
            # More may wait than can be served in time, so that the queue's timeout has work too.
            queue={
                "max_waiting": int(SLOTS / service * QUEUE_TIMEOUT * 1.2),
                "timeout": f"{QUEUE_TIMEOUT * 1000:.0f}ms",
            },
        ) as proxy,
    ):
        yield origin, proxy


def refusals_per_second(service: float, keep_alive: bool) -> float:
    """How many this machine can make, clients and muxproxy together, here and now."""
    with stage(service) as (_, proxy):
        crowd = int(SLOTS / service)
        results = run(Plan(proxy.host, proxy.port, crowd, requests=6_000, keep_alive=keep_alive), within=90)
        at_once = proxy.outcomes()["queue_full"]
    ended = sorted(record.ended for record in results.of(REFUSED))
    return at_once / (ended[at_once - 1] - results.first)


@pytest.mark.alone
@pytest.mark.parametrize(
    ("service", "keep_alive", "seconds"),
    [(0.010, True, size(5, 10)), (0.050, False, size(4, 5))],
    ids=["ten-milliseconds-each", "a-connection-for-each-request"],
)
def test_an_overload_leaves_the_origin_fully_used_and_is_over_when_it_is_over(
    service: float, keep_alive: bool, seconds: int
) -> None:
    # A machine too slow or too busy to offer ten times as much gets a slower origin.
    service = max(service, 10 * SLOTS * HEADROOM / refusals_per_second(service, keep_alive))
    service = math.ceil(service * 1000) / 1000  # libuv's timers round to milliseconds: 13.4 would be 13
    nominal = SLOTS / service
    with stage(service) as (origin, proxy):
        # More clients than slots, or the origin would wait for each of them to ask again.
        alone = Plan(origin.host, origin.port, parallel=4 * SLOTS, requests=int(2 * nominal), keep_alive=True)
        capacity = run(alone, within=60).per_second
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
        with (
            Sampler(origin.address, every=0.02) as sampler,
            Load(plan) as load,
            Lateness(*proxy.workers(), *load.pids) as lateness,
            Lateness(*proxy.workers()) as muxproxys,
        ):
            results = load.results(within=90)
            tally = sampler.result()
        status = wait_for(lambda: drained(proxy), within=20, what="an empty queue")
    began = results.first
    served = sum(record.ended < began + seconds for record in results.of(RIGHT))
    late = lateness.between(began, began + seconds)
    kept = muxproxys.between(began, began + seconds)  # of what is served; the clients ask ten times as much
    part = served / seconds / capacity
    print(f"served {served} in {seconds} s, {part:.3f} of {capacity:.0f}/s, its capacity")
    print(f"{service * 1000:.0f} ms each; the machine was {late:.3f} s late, {kept:.3f} s for muxproxy")
    print(results.summary(), results.times(REFUSED), f"worst start {results.late * 1000:.0f} ms late")
    print(status["outcomes"], tally)
    # The load was what it says it is: all were started, but for those due while the machine was late.
    assert results.skipped <= rate * late
    assert len(results.records) + results.skipped == plan.requests
    # P2, P3, and P8: a right reply or an explicit refusal, in the client's language.
    assert set(results.outcomes) == {RIGHT, REFUSED}, results.examples
    assert set(results.statuses) == {200, 503}
    assert 1 <= tally.held <= SLOTS, tally
    counted = sum(sum(reasons.values()) for reasons in status["outcomes"].values())
    assert counted == len(results.records)
    # At least 95 % of what the origin can do, while the overload lasts.
    assert served >= 0.95 * capacity * (seconds - kept)
    # Refusals by a full queue are answered at once (those by its timeout come when it is over); nobody who
    # was let in waits longer than the queue allows.
    by_full_queue = status["outcomes"]["refused"]["queue_full"]
    refused = sorted(in_time(record, lateness) for record in results.of(REFUSED))
    print(f"p99 of refusals at once {percentile(refused[:by_full_queue], 99):.4f} s")
    assert percentile(refused[:by_full_queue], 99) < REFUSED_AT_ONCE
    longest = max(in_time(record, lateness) for record in results.records)
    print(f"longest {longest:.3f} s")
    assert longest <= QUEUE_TIMEOUT + service + MARGIN


def in_time(record: Record, lateness: Lateness) -> float:
    """How long it took, without what the machine was late meanwhile."""
    return record.took - lateness.between(record.began, record.ended)


def drained(proxy: Proxy) -> dict[str, dict[str, dict[str, int]]]:
    """The backend's status once nobody waits and nothing is under way."""
    backend = proxy.backend()
    return backend if backend["waiting"] == backend["in_flight"] == backend["clients"] == 0 else {}
