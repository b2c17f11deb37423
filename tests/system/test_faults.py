"""P1, P2 and P3 while something breaks: the origin dies, a worker is killed, connects hang.

Under load throughout. Every request ends with its own right reply or an explicit error reply, the kernel
never shows a ninth socket to the origin, and service is back within a second of the cause's end, beside what
the machine itself was late in that second.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.system.lateness import Lateness
from tests.system.load import CLOSED, CUT, REFUSED, RIGHT, Load, Plan, Results
from tests.system.origins import FILLER, FullBacklog, Nginx
from tests.system.process import ROOT, wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler, Tally

CLIENTS = 200
BOUND = 8
BACK_WITHIN = 1.0  # seconds


def proxy_to(address: str, **upstream: Any) -> Proxy:
    return Proxy(
        address,
        upstream={"max_connections": BOUND} | upstream,
        queue={"max_waiting": CLIENTS, "timeout": "500ms"},
    )


def plan(proxy: Proxy) -> Plan:
    return Plan(proxy.host, proxy.port, parallel=CLIENTS, patience=20)


def late(proxy: Proxy, load: Load) -> Lateness:
    return Lateness(*proxy.workers(), *load.pids)


def count(proxy: Proxy, *reasons: str) -> int:
    outcomes = proxy.outcomes()
    return sum(outcomes.get(reason, 0) for reason in reasons)


def more(proxy: Proxy, *reasons: str, by: int) -> Callable[[], bool]:
    """Whether so many more exchanges have ended for these reasons than had when this was called."""
    before = count(proxy, *reasons)
    return lambda: count(proxy, *reasons) >= before + by


def back_after(results: Results, moment: float, what: str, lateness: Lateness, beside: float = 0.0) -> None:
    """`beside`: seconds of that time which are not muxproxy's to shorten."""
    back = results.served_again(moment)
    took, machine = back - moment, lateness.between(moment, back)
    print(f"service was back {took * 1000:.0f} ms after {what}; the machine was {machine * 1000:.0f} ms late")
    assert took <= BACK_WITHIN + machine + beside


def start_of_a_worker() -> float:
    """Seconds that the interpreter and a worker's imports take here and now, on this machine under load."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import muxproxy.worker.process"], cwd=ROOT, check=True)
    return time.monotonic() - began


def assert_bound(tally: Tally) -> None:
    print(tally)
    assert tally.samples > 20
    assert 1 <= tally.held <= BOUND, tally


def assert_all_are_counted(results: Results, proxy: Proxy) -> None:
    """P3: every request in exactly one outcome."""
    assert sum(proxy.outcomes().values()) == len(results.records)


def assert_each_has_its_own_end(results: Results, also: tuple[str, ...] = ()) -> None:
    print(results.summary())
    assert set(results.outcomes) <= {RIGHT, REFUSED, *also}, results.examples
    assert {record.status for record in results.of(REFUSED)} <= {502, 503, 504}


def test_an_origin_that_is_killed_and_comes_back_costs_explicit_errors_only() -> None:
    with Nginx() as nginx, proxy_to(nginx.address) as proxy, Sampler(nginx.address) as sampler:
        with Load(plan(proxy)) as load, late(proxy, load) as lateness:
            wait_for(more(proxy, "ok", by=1000), within=20, what="load")
            nginx.kill()
            wait_for(more(proxy, "no_server", by=CLIENTS), within=20, what="refusals for want of a server")
            wait_for(lambda: failures(proxy) >= 12, within=20, what="the longest pause between two probes")
            nginx.start()
            back = time.monotonic()
            wait_for(more(proxy, "ok", by=1000), within=20, what="load")
            results = load.stop()
        assert_bound(sampler.result())
        assert_all_are_counted(results, proxy)
    assert_each_has_its_own_end(results)
    assert results.outcomes[REFUSED] >= CLIENTS
    back_after(results, back, "the origin's return", lateness)


def test_a_worker_that_is_killed_takes_only_the_requests_it_held_with_it() -> None:
    with Nginx() as nginx, proxy_to(nginx.address) as proxy, Sampler(nginx.address) as sampler:
        with Load(plan(proxy)) as load, late(proxy, load) as lateness:
            wait_for(more(proxy, "ok", by=1000), within=20, what="load")
            start = start_of_a_worker()
            (worker,) = proxy.workers()
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda: not is_alive(worker), within=20, what="the worker's end")
            dead = time.monotonic()
            wait_for(lambda: replaced(proxy, worker), within=20, what="another worker")
            wait_for(lambda: count(proxy, "ok") >= 1000, within=20, what="load")
            results = load.stop()
        assert_bound(sampler.result())
    # Connections that the dead worker had accepted are reset by the kernel. No later one is, and none is
    # refused: whoever comes while there is no worker waits in the backlog.
    assert_each_has_its_own_end(results, also=(CLOSED, CUT))
    lost = results.of(CLOSED, CUT)
    assert len(lost) <= CLIENTS
    assert max((record.began for record in lost), default=0.0) <= dead
    back_after(results, dead, "the worker's death", lateness, beside=start)


def failures(proxy: Proxy) -> int:
    """Connects to the one server that have failed in a row."""
    return int(proxy.backend()["servers"][0]["failures"])


def is_alive(pid: int) -> bool:
    with suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    return False


def replaced(proxy: Proxy, worker: int) -> bool:
    status = proxy.status()["workers"][0]
    return status["pid"] not in (None, worker) and status["state"] == "ready"


def test_connects_that_hang_are_bounded_and_end_when_the_server_takes_them() -> None:
    with (
        FullBacklog() as hang,
        # At worst the connect that hangs when the cause ends has just begun, and times out (0.7 s).
        proxy_to(hang.address) as proxy,
        Sampler(hang.address, ignore_sources=(FILLER,)) as sampler,
        Load(plan(proxy)) as load,
        late(proxy, load) as lateness,
    ):
        wait_for(lambda: count(proxy, "no_server") >= CLIENTS, within=20, what="refusals")
        hanging = sampler.now()
        assert hanging.held >= 1
        assert all(line.startswith("SYN_SENT") for line in hanging.worst), hanging
        wait_for(lambda: failures(proxy) >= 6, within=20, what="the longest pause between two probes")
        connects = proxy.backend()["connects"]
        wait_for(
            lambda: proxy.backend()["connects"] > connects,
            within=20,
            what="a connect that has just begun to hang",
        )
        with Nginx(hang.hand_over()):
            back = time.monotonic()
            wait_for(lambda: count(proxy, "ok") >= 1000, within=20, what="load")
            results = load.stop()
            assert_bound(sampler.result())
            assert_all_are_counted(results, proxy)
            proxy.stop()
    assert_each_has_its_own_end(results)
    back_after(results, back, "the server's return", lateness)
