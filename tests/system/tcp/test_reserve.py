"""psql cancels its query though all places of a `tcp` backend are taken: PostgreSQL's cancel requests come on
connections of their own, for which one is reserved."""

from __future__ import annotations

import signal
import subprocess

from tests.system.process import end, needs, tool, wait_for
from tests.system.proxy import Proxy
from tests.system.sockdiag import Sampler
from tests.system.tcp.daemons import Postgres

PLACES = 4  # of max_connections, one of them reserved


def sleeper(proxy: Proxy) -> subprocess.Popen[bytes]:
    where = ["-h", proxy.host, "-p", str(proxy.port), "-U", "postgres", "-d", "postgres"]
    return subprocess.Popen(
        [tool("psql"), "-X", *where, "-c", "SELECT pg_sleep(60)"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@needs("psql")
def test_psql_cancels_when_all_other_places_are_taken() -> None:
    with (
        Postgres() as postgres,
        Proxy(
            postgres.address,
            protocol="tcp",
            upstream={"max_connections": PLACES},
            queue={"timeout": "60s"},
            tcp={"reserve": 1},
        ) as proxy,
        Sampler(postgres.address) as sampler,
    ):
        sleepers = [sleeper(proxy) for _ in range(PLACES - 1)]
        try:
            # psql takes SIGINT for Ctrl-C once its query is under way
            wait_for(lambda: asleep(postgres) == PLACES - 1, within=20, what="queries")
            sleepers += [sleeper(proxy), sleeper(proxy)]
            wait_for(lambda: proxy.backend()["waiting"] == 2, within=20, what="those that wait")
            for each in sleepers[: PLACES - 1]:
                each.send_signal(signal.SIGINT)
            for each in sleepers[: PLACES - 1]:
                _, told = each.communicate(timeout=20)
                assert b"canceling statement due to user request" in told
            assert proxy.backend()["events"]["reserved"] >= 1
            assert "server closes what it accepts" not in proxy.log()  # a cancel request gets no answer
        finally:
            for each in sleepers:
                end(each, signal.SIGKILL)
                assert each.stderr is not None
                each.stderr.close()
        assert sampler.result().held <= PLACES


def asleep(postgres: Postgres) -> int:
    """Queries under way, as PostgreSQL itself counts them."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    where = ["-h", str(postgres.folder), "-p", str(postgres.port), "-U", "postgres", "-d", "postgres"]
    told = subprocess.run([tool("psql"), "-X", "-At", *where, "-c", sql], capture_output=True, check=True)
    return int(told.stdout)
