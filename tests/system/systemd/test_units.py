"""The units of systemd/ on a real systemd as process 1: what operators type, what becomes of the clients."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.sizes import size
from tests.system.sockdiag import Sampler
from tests.system.systemd.machine import Machine, booted, why_not

WEB = """\
protocol = "http"
[clients]
listen = ["127.0.0.1:8080", "unix:/run/muxproxy/web.sock"]
backlog = 4000
[upstream]
servers = ["127.0.0.1:9000"]
max_connections = 2
"""
ORIGIN = "127.0.0.1:9000"
API = WEB.replace("8080", "8081").replace("web.sock", "api.sock")
BOUND = 2  # of those who ask always two wait
PATIENCE = 60.0  # seconds; a client whose connect has succeeded is served when muxproxy is there again
UNITS = ("muxproxy.service", "muxproxy@.service")


class _Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *words: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *of: object) -> None:
        """A crash of muxproxy's resets its connections: that is what is tried here."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, namespace: None) -> Iterator[Machine]:
    if reason := why_not():
        pytest.skip(reason)
    with booted(tmp_path_factory.mktemp("machine")) as it:
        it.enter_network()
        # As many starts as the tests like. What else differs from an installation: nothing.
        for unit in UNITS:
            it.write(f"/etc/systemd/system/{unit}.d/tests.conf", "[Unit]\nStartLimitIntervalSec=0\n")
        server = _Server(("127.0.0.1", 9000), _Origin)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield it
        server.shutdown()
        server.server_close()


@pytest.fixture
def service(machine: Machine) -> Iterator[Machine]:
    """muxproxy with one backend, `web`, running."""
    machine.write("/etc/muxproxy/backends/web.toml", WEB)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "muxproxy")
    yield machine
    machine.ask("systemctl", "stop", "muxproxy.socket")
    machine.run("systemctl", "stop", "muxproxy")
    for path in (machine.root / "etc/muxproxy/backends").iterdir():
        path.unlink()


def request(address: tuple[str, int] | str, *, connect_only: bool = False) -> str:
    """How it ended: "ok", or what happened."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect(address)
        except OSError as error:
            return f"refused: {error}"
        if connect_only:
            return "connected"
        try:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
            reply = b""
            while data := sock.recv(4096):
                reply += data
        except OSError as error:
            return f"failed: {error}"
    is_whole = reply.startswith(b"HTTP/1.1 200 ") and reply.endswith(b"\r\n\r\nok")
    return "ok" if is_whole else f"failed: {reply[:200]!r}"


@contextmanager
def load(machine: Machine) -> Iterator[Counter[str]]:
    """Clients on TCP and on the unix socket, a connection for each request; and others who only connect,
    every 20 ms, for a client that waits finds no gaps. Yields how they ended."""
    ends: Counter[str] = Counter()
    done = threading.Event()
    local = f"/proc/{machine.pid}/root/run/muxproxy/web.sock"

    def ask(address: tuple[str, int] | str) -> None:
        while not done.is_set():
            ends[request(address)] += 1
            time.sleep(0.005)

    def knock(address: tuple[str, int] | str) -> None:
        while not done.is_set():
            ends[request(address, connect_only=True)] += 1
            time.sleep(0.02)

    threads = [
        threading.Thread(target=way, args=(each,))
        for each in (("127.0.0.1", 8080), local)
        for way in (ask, ask, knock)
    ]
    for thread in threads:
        thread.start()
    try:
        yield ends
    finally:
        done.set()
        for thread in threads:
            thread.join()


@contextmanager
def bounded() -> Iterator[None]:
    """P1, as the kernel sees it: sockets towards the origin that any process holds, the old and the new one
    together, every 2 ms. What no process holds any more (TIME_WAIT, or orphaned by a crash while the kernel
    still closes it) is none of them; more is said in sockdiag.py."""
    with Sampler(ORIGIN) as sampler:
        yield
        tally = sampler.result()
        print(f"{tally.samples} samples, at most {tally.held} held, {tally.lingering} that nobody holds")
        assert 1 <= tally.held <= BOUND, tally.worst


def kept(machine: Machine) -> int:
    return int(machine.show("muxproxy", "NFileDescriptorStore"))


def test_it_starts_tells_its_numbers_and_logs_with_priorities(service: Machine) -> None:
    assert request(("127.0.0.1", 8080)) == "ok"
    status = r"serving 1 backend: 0 clients, 0 waiting, 0 in flight, 1 of 2 upstream sockets, \d+ replies/s"
    service.until(lambda: re.fullmatch(status, service.show("muxproxy", "StatusText")) is not None)
    lines = service.run("journalctl", "-u", "muxproxy", "-o", "cat", "-p", "info")
    assert re.search(r"^serving backends=1 workers=1$", lines, re.MULTILINE)  # no "<6>", no time of its own
    assert "muxproxy version" not in service.run("journalctl", "-u", "muxproxy", "-o", "cat", "-p", "warning")


def test_a_reload_is_in_place_and_one_that_is_refused_is_told(service: Machine) -> None:
    pids = service.processes("muxproxy")
    service.write("/etc/muxproxy/backends/api.toml", API)
    service.run("systemctl", "reload", "muxproxy")
    assert request(("127.0.0.1", 8081)) == "ok"
    assert kept(service) == 4
    service.write("/etc/muxproxy/backends/api.toml", "protocol = 1\n")
    assert service.ask("systemctl", "reload", "muxproxy").returncode != 0
    assert service.show("muxproxy", "ActiveState") == "active"
    service.until(lambda: "the last reload was refused" in service.show("muxproxy", "StatusText"))
    assert request(("127.0.0.1", 8081)) == "ok"
    (service.root / "etc/muxproxy/backends/api.toml").unlink()
    service.run("systemctl", "reload", "muxproxy")
    assert request(("127.0.0.1", 8081)).startswith("refused")
    assert kept(service) == 2
    service.until(lambda: "refused" not in service.show("muxproxy", "StatusText"))
    service.run("systemctl", "kill", "--kill-who=main", "-s", "HUP", "muxproxy")
    service.until(lambda: len(re.findall(": reloaded ", service.journal("-u", "muxproxy"))) == 3)
    service.until(lambda: service.show("muxproxy", "ActiveState") == "active")
    assert service.processes("muxproxy") == pids


def test_nobody_is_refused_while_it_restarts_nor_when_it_crashes(service: Machine) -> None:
    with load(service) as ends, bounded():
        for _ in range(size(3, 20)):
            service.run("systemctl", "restart", "muxproxy")
        assert set(ends) == {"ok", "connected"}
        for crash in range(size(1, 5)):
            os.kill(service.processes("muxproxy")[0], signal.SIGKILL)
            service.until(lambda number=str(crash + 1): service.show("muxproxy", "NRestarts") == number)
            service.until(lambda: service.show("muxproxy", "ActiveState") == "active")
    # What was in flight at the crash is lost; who came later waited.
    assert [end for end in ends if end.startswith("refused")] == []
    lost = sum(count for end, count in ends.items() if end.startswith("failed"))
    assert lost <= 4 * size(1, 5), ends
    assert ends["connected"] > 100
    assert kept(service) == 2
    service.run("systemctl", "stop", "muxproxy")
    assert request(("127.0.0.1", 8080)).startswith("refused")


def upgrade(machine: Machine) -> None:
    before = machine.journal("-u", "muxproxy").count("taken over")
    machine.run("systemctl", "kill", "--kill-who=main", "-s", "USR2", "muxproxy")
    machine.until(lambda: machine.journal("-u", "muxproxy").count("taken over") > before)


def test_an_upgrade_is_the_same_service_with_another_main_process(service: Machine) -> None:
    main = service.show("muxproxy", "MainPID")
    killed = service.journal("-u", "muxproxy").count("SIGKILL")  # by the tests before
    with load(service) as ends, bounded():
        upgrade(service)
        assert service.show("muxproxy", "MainPID") != main
        service.run("systemctl", "restart", "muxproxy")  # which drains that one, too
        assert service.journal("-u", "muxproxy").count("SIGKILL") == killed
        upgrade(service)
    assert set(ends) == {"ok", "connected"}
    assert (service.show("muxproxy", "NRestarts"), kept(service)) == ("0", 2)
    fed = service.show("muxproxy", "WatchdogTimestampMonotonic")
    service.until(lambda: service.show("muxproxy", "WatchdogTimestampMonotonic") != fed)
    os.kill(service.processes("muxproxy")[0], signal.SIGKILL)  # and watched
    service.until(lambda: service.show("muxproxy", "NRestarts") == "1")
    assert request(("127.0.0.1", 8080)) == "ok"
    assert "reception only permitted for main PID" not in service.journal("-u", "muxproxy")


def test_the_first_connection_starts_it_and_the_sockets_outlive_it(service: Machine) -> None:
    service.run("systemctl", "stop", "muxproxy")
    service.run("/opt/muxproxy/bin/muxproxy", "systemd", "--write", "/etc/systemd/system")
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "start", "muxproxy.socket")
    local = f"/proc/{service.pid}/root/run/muxproxy/web.sock"
    assert service.show("muxproxy", "ActiveState") == "inactive"
    assert [request(local), request(("127.0.0.1", 8080))] == ["ok", "ok"]
    with load(service) as ends, bounded():
        for _ in range(size(2, 20)):
            service.run("systemctl", "restart", "muxproxy")
    assert set(ends) == {"ok", "connected"}
    assert kept(service) == 0  # systemd has them anyhow


def test_a_units_socket_waits_for_its_backend_to_come_back(service: Machine) -> None:
    service.run("systemctl", "stop", "muxproxy")
    service.run("/opt/muxproxy/bin/muxproxy", "systemd", "--write", "/etc/systemd/system")
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "start", "muxproxy.socket", "muxproxy")
    local = f"/proc/{service.pid}/root/run/muxproxy/web.sock"
    # A backend that has gone leaves its socket behind until its drop-in goes, and comes back to it.
    (service.root / "etc/muxproxy/backends/web.toml").unlink()
    service.write("/etc/muxproxy/backends/api.toml", API)
    service.run("systemctl", "reload", "muxproxy")
    assert "muxproxy.socket: no backend listens on 127.0.0.1:8080" in service.journal("-u", "muxproxy")
    assert os.path.exists(local)
    service.write("/etc/muxproxy/backends/web.toml", WEB)
    service.run("systemctl", "reload", "muxproxy")
    assert [request(local), request(("127.0.0.1", 8080)), request(("127.0.0.1", 8081))] == ["ok"] * 3


def test_a_units_sockets_come_and_go_as_the_readme_says(service: Machine) -> None:
    def write() -> None:
        service.run("/opt/muxproxy/bin/muxproxy", "systemd", "--write", "/etc/systemd/system")
        service.run("systemctl", "daemon-reload")

    service.run("systemctl", "stop", "muxproxy")
    write()
    service.run("systemctl", "start", "muxproxy.socket", "muxproxy")
    service.write("/etc/muxproxy/backends/api.toml", API)
    write()
    service.run("systemctl", "reload", "muxproxy")
    assert (request(("127.0.0.1", 8081)), kept(service)) == ("ok", 2)  # ours until the next boot
    service.run("systemctl", "restart", "muxproxy")
    assert [request(("127.0.0.1", port)) for port in (8080, 8081)] == ["ok"] * 2
    (service.root / "etc/muxproxy/backends/web.toml").unlink()
    write()
    service.run("systemctl", "restart", "muxproxy")
    assert request(("127.0.0.1", 8080)).startswith("refused")
    assert request(("127.0.0.1", 8081)) == "ok"


def test_a_worker_that_hangs_is_ours_to_replace_and_a_supervisor_is_systemds(
    service: Machine,
) -> None:
    other = WEB.replace("8080", "8082").replace("/run/muxproxy/", "/run/muxproxy-other/")
    service.write("/etc/muxproxy/instances/other/backends/web.toml", other)
    service.write("/etc/systemd/system/muxproxy@other.service.d/short.conf", "[Service]\nWatchdogSec=8\n")
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "start", "muxproxy@other")
    assert request(("127.0.0.1", 8082)) == "ok"
    stopped, worker = service.processes("muxproxy@other")[0], service.processes("muxproxy")[1]
    os.kill(stopped, signal.SIGSTOP)
    os.kill(worker, signal.SIGSTOP)
    assert request(("127.0.0.1", 8080)) == "ok"  # by the next one
    assert worker not in service.processes("muxproxy")
    assert service.show("muxproxy", "NRestarts") == "0"
    assert "hangs: no answer to 5 questions in a row; killed" in service.journal("-u", "muxproxy")
    service.until(lambda: service.show("muxproxy@other", "NRestarts") == "1")
    assert request(("127.0.0.1", 8082)) == "ok"
    assert "Watchdog timeout" in service.journal("-u", "muxproxy@other")
    service.run("systemctl", "stop", "muxproxy@other")


@pytest.mark.parametrize("unit", UNITS)
def test_it_may_do_little(machine: Machine, unit: str) -> None:
    path = f"/etc/systemd/system/{unit}"
    told = machine.run("systemd-analyze", "security", "--offline=true", "--threshold=15", path)
    assert machine.ask("systemd-analyze", "verify", unit.replace("@", "@x")).stderr == ""
    found = re.search(r"Overall exposure level .*: (\d\.\d) ", told)
    assert found is not None
    assert float(found[1]) <= 1.5


def test_the_unit_that_is_here_is_the_one_that_is_written(machine: Machine) -> None:
    root = Path(__file__).resolve().parents[3]
    machine.write("/etc/muxproxy/backends/web.toml", WEB)
    machine.run("/opt/muxproxy/bin/muxproxy", "systemd", "--write", "/tmp/units")
    written = (machine.root / "tmp/units/muxproxy.socket").read_text()
    assert written == (root / "systemd/muxproxy.socket").read_text()
