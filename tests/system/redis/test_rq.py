"""rq's workers, which block on one connection each and listen on another: at default bounds."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

import redis
import rq

from tests.system.process import end, wait_for
from tests.system.proxy import Proxy
from tests.system.redis.server import RedisServer

WORKERS, EACH = 4, 2


def test_workers_that_all_wait_get_their_jobs_and_end(clean: RedisServer) -> None:
    with Proxy(clean.address, protocol="redis") as proxy, ExitStack() as stack:
        url = f"redis://{proxy.host}:{proxy.port}"
        words = ("worker", "--url", url, "-w", "rq.worker.SimpleWorker", "--max-jobs", str(EACH))
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", "rq.cli", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for _ in range(WORKERS)
        ]
        for worker in workers:
            stack.callback(end, worker)
        client = redis.Redis.from_url(url)
        stack.callback(client.close)
        queue = rq.Queue(connection=client)
        wait_for(
            lambda: proxy.backend()["pinned"].get("blocking") == WORKERS, within=60, what="all of them wait"
        )
        jobs = [queue.enqueue("time.sleep", 0) for _ in range(WORKERS * EACH)]
        for worker in workers:
            _, told = worker.communicate(timeout=60)
            assert worker.returncode == 0, told
        assert {job.get_status().value for job in jobs} == {"finished"}
        assert set(proxy.outcomes()) <= {"ok", "local", "client_left"}
