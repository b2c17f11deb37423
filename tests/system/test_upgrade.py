"""Upgrades under load: nobody notices, and both together never have more connections than the bound.

At its full size (tests/sizes.py) fifty, one after the other.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from muxproxy.supervisor.interpreter import program
from tests.sizes import size
from tests.system.dubbo.own import Shuffler
from tests.system.origins import Program
from tests.system.process import Child, wait_for
from tests.system.redis.server import RedisServer
from tests.system.sockdiag import Sampler
from tests.system.test_reload import CLIENTS, PROTOCOLS, Files, free_port

UPGRADES = size(2, 50)
BOUND = 4


class Upgraded(Files):
    """Whoever is the one that serves now."""

    def upgrade(self) -> int:
        """The successor's pid, once the predecessor has gone."""
        before = self.status()["pid"]
        if self.count % 2:
            os.kill(before, signal.SIGUSR2)
        else:
            told = subprocess.run(
                [*program("muxproxy"), "upgrade", "--socket", str(self.admin)],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            ).stdout
            assert told.endswith("serves, its predecessor drains\n")
        wait_for(
            lambda: self._taken_over(before), within=40, what="a successor that has taken over", every=0.02
        )
        return int(self.status()["pid"])

    def _taken_over(self, before: int) -> bool:
        return self.log().count("taken over") > self.count and int(self.status()["pid"]) != before

    count = 0

    def follow(self) -> None:
        self.count += 1

    def close(self) -> None:
        """Whoever has taken over is no child of ours, and must not be left behind."""
        for found in re.findall(r" muxproxy version=\S+ pid=(\d+) ", self.log()):
            with contextlib.suppress(OSError):
                if str(self.folder).encode() in Path(f"/proc/{found}/cmdline").read_bytes():
                    os.kill(int(found), signal.SIGKILL)
        super().close()

    def stop_successor(self) -> None:
        pid = int(self.status()["pid"])
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), within=20, what="the end of the successor")


def test_nobody_notices_upgrades_and_the_bound_holds_over_both() -> None:
    with ExitStack() as stack:
        servers = {
            "web": stack.enter_context(Program("slots", seconds=0.002)).address,
            "cache": stack.enter_context(RedisServer()).address,
            "orders": stack.enter_context(Shuffler()).address,
        }
        proxy = stack.enter_context(Upgraded(servers["web"]))
        ports = {name: free_port() for name in PROTOCOLS}
        for name, protocol in PROTOCOLS.items():
            proxy.write(
                name,
                protocol,
                # As many as ever come at once: each may be connected anew before he is seen to have left.
                clients={"listen": [f"127.0.0.1:{ports[name]}"], "max_connections": 2 * CLIENTS},
                queue={"max_waiting": 500, "timeout": "10s"},
                upstream={"servers": [servers[name]], "max_connections": BOUND},
            )
        proxy.reload()
        samplers = {name: stack.enter_context(Sampler(address)) for name, address in servers.items()}
        asks = {protocol: [f"127.0.0.1:{ports[name]}"] for name, protocol in PROTOCOLS.items()}
        traffic = stack.enter_context(Child("tests.system.traffic", asks | {"clients": CLIENTS}))
        pids = {proxy.process.pid}
        for _ in range(UPGRADES):
            time.sleep(0.3)  # requests
            pids.add(proxy.upgrade())
            proxy.follow()
        time.sleep(0.3)
        end = traffic.results()
        print(end["right"], f"slowest {end['slowest']:.3f} s")
        held = {name: sampler.result().held for name, sampler in samplers.items()}
        assert len(pids) == UPGRADES + 1
        assert end["wrong"] == []
        assert min(end["right"].get(protocol, 0) for protocol in asks) > 20 * UPGRADES
        assert min(held.values()) >= 1, held
        assert max(held.values()) <= BOUND, f"P1: {held}"
        proxy.stop_successor()
        assert proxy.process.wait(20) == 0


def test_a_successor_that_does_not_come_up_changes_nothing() -> None:
    with Program("slots", seconds=0.002) as origin, Upgraded(origin.address) as proxy:
        (proxy.folder / "backends" / "broken.toml").write_text("protocol = 'smoke'\n")
        proxy.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: "not upgraded" in proxy.log(), within=20, what="the failure told", every=0.02)
        assert proxy.status()["pid"] == proxy.process.pid
        assert proxy.status()["state"] == "serving"


def ping(sock: socket.socket) -> bytes:
    sock.sendall(b"PING\r\n")
    return sock.recv(64)


def test_while_both_run_there_are_as_many_clients_as_may_be_and_no_more() -> None:
    tables = {"clients": {"max_connections": 2}, "upstream": {"max_connections": 8}}
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        proxy = stack.enter_context(Upgraded(server.address, protocol="tcp", **tables))

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection((proxy.host, proxy.port), 20))

        kept = [connect() for _ in range(2)]
        assert [ping(sock) for sock in kept] == [b"+PONG\r\n"] * 2
        before = proxy.process.pid
        proxy.process.send_signal(signal.SIGUSR2)

        def is_served() -> bool:
            """Who is silent for a second is closed by one that drains."""
            assert [ping(sock) for sock in kept] == [b"+PONG\r\n"] * 2
            return bool(proxy.status()["pid"] != before)

        wait_for(is_served, within=40, what="a successor that serves", every=0.02)
        late = connect()
        late.sendall(b"PING\r\n")
        late.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            raise AssertionError(f"let in beside two: {late.recv(64)!r}")
        assert ping(kept[0]) == b"+PONG\r\n"
        kept[0].close()
        late.settimeout(20)
        assert late.recv(64) == b"+PONG\r\n"
        kept[1].close()
        wait_for(lambda: "taken over" in proxy.log(), within=40, what="the predecessor's end", every=0.02)
        with connect() as last, late:  # a session that is left open is worth all of drain_timeout
            assert ping(last) == b"+PONG\r\n"
        assert proxy.process.wait(20) == 0
        proxy.stop_successor()
