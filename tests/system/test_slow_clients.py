"""P5: 500 clients that read a byte a second and 500 that send one do not slow down anybody else.

The origin serves 8 at a time in 10 ms, so full speed is a number that does not depend on the machine: as
much as the same origin gave the same clients through the same proxy before the slow ones came, but for the
time that the machine itself was late: a slow client that held one of the eight would cost an eighth.
"""

from __future__ import annotations

import pytest

from tests.system.lateness import Lateness
from tests.system.load import RIGHT, Load, Plan, Results, run
from tests.system.origins import Program
from tests.system.process import wait_for
from tests.system.proxy import Proxy, memory
from tests.system.slow import SlowClients
from tests.system.sockdiag import Sampler

BOUND = 8
REQUESTS = 3_000  # of the others, in each of the two runs
AT_LEAST = 0.9  # of the throughput without slow clients
REPLY = 48 << 10  # of the slow readers: less than response_buffer, more than their sockets hold
MAY_GROW = 1_000 * (64 << 10)  # bytes: response_buffer or request_buffer for each slow client


def others(proxy: Proxy) -> tuple[Results, float]:
    """And how late the machine was for them and for muxproxy, in seconds."""
    plan = Plan(proxy.host, proxy.port, parallel=32, requests=REQUESTS, keep_alive=True)
    with Load(plan) as load, Lateness(*proxy.workers(), *load.pids) as lateness:
        results = load.results(within=120)
    return results, lateness.between(results.first, results.last)


@pytest.mark.alone
def test_a_thousand_slow_clients_leave_eight_connections_to_the_others_at_full_speed() -> None:
    with (
        Program("slots") as origin,
        Proxy(
            origin.address,
            upstream={"max_connections": BOUND},
            clients={"head_timeout": "60s", "stall_timeout": "60s"},
        ) as proxy,
    ):
        (worker,) = proxy.workers()
        without, _ = others(proxy)
        before = memory(worker)
        with (
            SlowClients(proxy.host, proxy.port, REPLY, r=500, h=250, b=250) as slow,
            Sampler(origin.address) as sampler,
        ):
            # The slow readers' requests are requests too: they take their turns in the queue first.
            wait_for(
                lambda: proxy.outcomes()["ok"] == REQUESTS + 500, within=20, what="their replies, taken off"
            )
            beside, late = others(proxy)
            clients = proxy.backend()["clients"]
            grown = memory(worker) - before
            tally = sampler.result()
            told = slow.results()
    on_time = beside.seconds - late  # less than nothing where others kept the machine busy all the time
    print(f"without: {without.summary()}\nbeside 1,000 slow clients: {beside.summary()}")
    print(f"{without.seconds:.3f} s, beside them {on_time:.3f} s and {late:.3f} s late; slow clients: {told}")
    print(f"the worker grew by {grown / 2**20:.1f} MiB; {tally}")
    # The slow ones were there all the time, each at its byte a second.
    assert clients >= 1_000
    assert told["ended"] == 0
    assert all(moved > 0 for moved in told["bytes"].values())
    # The others got all they asked for, as fast as before, over no more than eight sockets.
    assert without.outcomes == beside.outcomes == {RIGHT: REQUESTS}
    assert without.seconds >= AT_LEAST * on_time
    assert 1 <= tally.held <= BOUND, tally
    assert grown < MAY_GROW


def test_a_reply_larger_than_every_buffer_is_given_up_when_its_client_stalls() -> None:
    with (
        Program("script") as origin,
        Proxy(
            origin.address,
            upstream={"max_connections": BOUND},
            clients={"stall_timeout": "2s", "min_rate": "1MiB"},
            queue={"timeout": "20s"},
        ) as proxy,
        # Eight readers of 64 MiB at a byte a second hold all eight connections ...
        SlowClients(proxy.host, proxy.port, 64 << 20, r=BOUND),
    ):
        wait_for(lambda: proxy.backend()["connects"] >= BOUND, within=20, what="eight held")
        # ... until they have stalled for too long: then they lose their own connection, and nobody else's.
        results = run(Plan(proxy.host, proxy.port, parallel=16, requests=200, patience=20), within=60)
        print(results.summary())
        assert results.outcomes == {RIGHT: 200}, results.examples
        wait_for(lambda: proxy.outcomes().get("client_stalled") == BOUND, within=20, what="all have stalled")
