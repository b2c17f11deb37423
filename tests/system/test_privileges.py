"""muxproxy started by root: whose its processes are, what they may do, and that all works as before."""

from __future__ import annotations

import grp
import http.client
import os
import pwd
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sizes import size
from tests.system.origins import Program
from tests.system.process import end, wait_for
from tests.system.proxy import Proxy
from tests.system.reachable import prefix

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
KILL, SETGID, SETUID, BIND = 1 << 5, 1 << 6, 1 << 7, 1 << 10
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def origin() -> Iterator[Program]:
    with Program("script") as origin:
        yield origin


def about(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def caps(pid: int) -> dict[str, int]:
    return {name: int(about(pid)[f"Cap{name}"][0], 16) for name in ("Eff", "Prm", "Bnd", "Inh", "Amb")}


NONE = dict.fromkeys(("Eff", "Prm", "Bnd", "Inh", "Amb"), 0)


def asks(proxy: Proxy) -> int:
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=20)
    connection.request("GET", "/echo?token=x", headers={"X-Token": "x"})
    status = connection.getresponse().status
    connection.close()
    return status


def restarted(proxy: Proxy) -> bool:
    return bool(proxy.status()["workers"][0]["restarts"])


def heir_of(proxy: Proxy, pid: int) -> int:
    os.kill(pid, signal.SIGKILL)
    (heir,) = wait_for(
        lambda: [each for each in proxy.workers() if each and each != pid], within=20, what="another worker"
    )
    proxy.backend()
    return heir


def test_as_root_workers_have_no_capability_nor_do_those_that_come_after(origin: Program) -> None:
    with Proxy(origin.address) as proxy:
        (worker,) = proxy.workers()
        assert caps(worker) == NONE
        heir = heir_of(proxy, worker)
        assert caps(heir) == NONE
        supervisor = proxy.process.pid
        assert caps(supervisor) == NONE | {"Eff": BIND, "Prm": BIND}
        assert about(supervisor)["NoNewPrivs"] == about(heir)["NoNewPrivs"] == ["1"]
        assert asks(proxy) == 200


def test_workers_are_the_users_and_everything_else_is_as_before(origin: Program, tmp_path: Path) -> None:
    local = tmp_path / "web.sock"
    with Proxy(
        origin.address,
        node={"user": "nobody", "group": "daemon"},
        clients={"listen": ["127.0.0.1:80", f"unix:{local}"]},  # which only root may have
        prefix=prefix(tmp_path),
    ) as proxy:
        (worker,) = proxy.workers()
        supervisor = proxy.process.pid
        kept = BIND | KILL | SETUID | SETGID
        for _ in range(2):
            told = about(worker)
            gid = grp.getgrnam("daemon").gr_gid
            assert (told["Uid"], told["Gid"]) == ([str(NOBODY.pw_uid)] * 4, [str(gid)] * 4)
            assert "0" not in told["Groups"]
            assert caps(worker) == NONE | {"Bnd": kept}  # for a successor; of no use to who is not root
            assert told["NoNewPrivs"] == ["1"]
            if not restarted(proxy):
                worker = heir_of(proxy, worker)
        assert caps(supervisor) == NONE | {"Eff": kept, "Prm": kept, "Bnd": kept}
        assert asks(proxy) == 200
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(local))
            client.sendall(
                b"GET /echo?token=x HTTP/1.1\r\nHost: a\r\nX-Token: x\r\nConnection: close\r\n\r\n"
            )
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        proxy.stop()
        assert not local.exists()
        assert not proxy.admin.exists()


def test_a_worker_of_another_user_that_hangs_is_killed_and_dies_with_its_supervisor(
    origin: Program, tmp_path: Path
) -> None:
    with Proxy(origin.address, node={"user": "nobody"}, prefix=prefix(tmp_path)) as proxy:
        (worker,) = proxy.workers()
        os.kill(
            worker, signal.SIGSTOP
        )  # it reads nothing any more: only a signal of its parent's end ends it
        assert end(proxy.process, signal.SIGKILL) == -signal.SIGKILL
        wait_for(lambda: not Path(f"/proc/{worker}").exists(), within=20, what="it is gone")


def test_a_successor_makes_workers_the_users_too_and_binds_low_ports(origin: Program, tmp_path: Path) -> None:
    with Proxy(origin.address, node={"user": "nobody"}, prefix=prefix(tmp_path)) as proxy:
        try:
            for _ in range(size(1, 3)):  # a successor has a successor
                before = {int(proxy.status()["pid"])}
                os.kill(*before, signal.SIGUSR2)
                wait_for(lambda known=before: heir_is_ready(proxy, known), within=40, what="a successor")
                wait_for(lambda: "upgrade is" not in asks_for(proxy, "reload"), within=20, what="alone")
            (worker,) = proxy.workers()
            heir = int(proxy.status()["pid"])
            assert heir != proxy.process.pid
            kept = BIND | KILL | SETUID | SETGID
            assert caps(heir) == NONE | {"Eff": kept, "Prm": kept, "Bnd": kept}
            assert about(worker)["Uid"] == [str(NOBODY.pw_uid)] * 4
            assert caps(worker) == NONE | {"Bnd": kept}
            file = proxy.folder / "backends" / "web.toml"
            file.write_text(file.read_text().replace("127.0.0.1:0", "127.0.0.1:81"))
            assert asks_for(proxy, "reload").startswith("HTTP/1.1 200 ")
            proxy.host, proxy.port = "127.0.0.1", 81
            assert asks(proxy) == 200
        finally:
            leader = int(proxy.status()["pid"])
            os.kill(leader, signal.SIGTERM)
            wait_for(lambda: not Path(f"/proc/{leader}").exists(), within=20, what="its end")


def heir_is_ready(proxy: Proxy, known: set[int]) -> bool:
    status = proxy.status()
    return int(status["pid"]) not in known and status["state"] == "serving"


def asks_for(proxy: Proxy, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(proxy.admin))
        client.sendall(f"POST /{command} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
        told = b""
        while data := client.recv(4096):
            told += data
    return told.decode()


def test_another_user_neither_reads_nor_changes_anything_through_the_socket(origin: Program) -> None:
    with Proxy(origin.address) as proxy:
        proxy.folder.chmod(0o755)  # he may look into its directory: it is the socket's own mode that says no
        child = os.fork()
        if not child:
            try:
                os.setgroups([])
                os.setgid(NOBODY.pw_gid)
                os.setuid(NOBODY.pw_uid)
                assert proxy.admin.is_socket()
                asks_for(proxy, "backends/web/drain")
            except PermissionError:
                os._exit(13)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 13
        assert proxy.status()["backends"]["web"]["state"] == "serving"
