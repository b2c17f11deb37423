"""`muxproxy doctor` in a network of its own: one that is well, one in the second incident (2,000 ports,
tcp_tw_reuse off, a client that churns), what it suggests there, and a hundred thousand TIME_WAITs.

An ordinary user asks as well as root: the kernel lists everybody's sockets, and who holds one is said as
far as it may be known.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muxproxy.supervisor.interpreter import program
from tests.sizes import size
from tests.system import without_netlink
from tests.system.process import ROOT, Child, end, wait_for
from tests.system.reachable import prefix
from tests.system.sockdiag import Sampler, SockDiag

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a network namespace")

SERVER = "198.18.0.5:6379"
CALLERS = 40
NO_PORT = "Cannot assign requested address"
NET = Path("/proc/sys/net/ipv4")
DOCTOR = (*program("muxproxy"), "doctor")


@pytest.fixture(scope="module", autouse=True)
def well(namespace: None) -> Iterator[tuple[float, int, str]]:
    """A server, and what the doctor said while one connection to it was all that there was: seconds of CPU,
    exit code, output."""
    run("ip addr add 198.18.0.5/32 dev lo")
    host, _, port = SERVER.rpartition(":")
    with Child("tests.system.churner", {"serve": SERVER, "delay": 0.02}):
        with socket.create_connection((host, int(port))):
            said = cost()
        yield said


def run(line: str) -> None:
    subprocess.run(["sh", "-c", line], check=True, capture_output=True, timeout=30)


def begun(*words: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen([*before, *DOCTOR, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def churning(address: str, idle: int, until: str) -> Child:
    orders = {"connect": address, "idle": idle, "callers": CALLERS, "until": until}
    return Child("tests.system.churner", orders)


def time_waits() -> int:
    with SockDiag() as kernel:
        return len(kernel.sockets(SERVER, states=("TIME_WAIT",)))


def test_a_machine_that_is_well_is_told_so(well: tuple[float, int, str]) -> None:
    _, code, output = well
    assert (code, output.splitlines()[0]) == (0, "Nothing is wrong.")
    assert any(
        line.startswith(f"  {SERVER}  ") and f"(pid {os.getpid()}, " in line for line in output.splitlines()
    )


def titles(report: dict[str, Any]) -> str:
    assert report["verdict"] == "wrong"
    return "\n".join(finding["title"] for finding in report["findings"] if finding["level"] == "wrong")


def test_the_second_incident_is_named_by_who_to_whom_and_why_and_what_is_suggested_cures_it(
    tmp_path: Path,
) -> None:
    (NET / "ip_local_port_range").write_text("20000 21999")
    (NET / "tcp_tw_reuse").write_text("0")
    folder = tmp_path / "through"
    folder.mkdir()
    tmp_path.chmod(0o755)
    nobody = pwd.getpwnam("nobody")
    as_nobody = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
    with churning(SERVER, idle=5, until=NO_PORT) as app:
        wait_for(lambda: time_waits() > 800, within=30, what="TIME_WAITs", every=0.05)
        asked = [
            begun("--json"),
            begun("--json", before=(*prefix(folder), *as_nobody)),
            begun("--suggest", SERVER),
            begun("--json", before=without_netlink.PREFIX),
        ]
        by_root, by_nobody, suggested, by_text = (told(each) for each in asked)
        pid, results = app.pid, app.results()
    assert results[NO_PORT] > 0

    assert (by_root[0], by_nobody[0], suggested[0], by_text[0]) == (1, 1, 0, 1)
    assert json.loads(by_text[1])["sight"]["by"] == "/proc/net/tcp"
    for _, output in (by_root, by_text):
        seen = titles(json.loads(output))
        assert f"{Path(sys.executable).name} -m tests.system.churner (pid {pid}, user root)" in seen
        for word in (
            SERVER,
            "of 2,000 ephemeral ports",
            "ip_local_port_range is 20000 21999",
            "tcp_tw_reuse is 0",
        ):
            assert word in seen
    report = json.loads(by_nobody[1])
    assert "a process of user root" in titles(report)
    assert "root would name the processes" in " ".join(report["unseen"])

    typed = [finding["type"] for finding in json.loads(by_root[1])["findings"] if "sysctl" in finding["type"]]
    assert len(typed) == 2
    for line in typed:
        run(line)
    check_the_cure(suggested[1], tmp_path)


def check_the_cure(text: str, folder: Path) -> None:
    """The same app, pointed at muxproxy: no error, no more sockets than it says, nothing wrong."""
    path = folder / text.splitlines()[0].rpartition("/")[2]
    path.write_text(text)
    subprocess.run(
        [*program("muxproxy"), "check", "-c", str(path)], cwd=ROOT, check=True, capture_output=True
    )
    (listen,) = (line.split('"')[1] for line in text.splitlines() if line.startswith("listen = "))
    bound = int(text.rpartition("max_connections = ")[2])
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "RUNTIME_DIRECTORY": str(folder)}
    command = [*program("muxproxy"), "run", "-c", str(path)]
    proxy = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listens(listen), within=20, what="muxproxy listens", every=0.02)
        with Sampler(SERVER, every=0.01) as sampler, churning(listen, idle=0, until="right") as app:
            code, output = told(begun("-c", str(path)))
            results, tally = app.results(), sampler.result()
    finally:
        assert end(proxy) == 0
    assert set(results) == {"right"}, results
    assert 0 < tally.held <= bound
    assert (code, output.splitlines()[0].partition(";")[0]) == (0, "Nothing is wrong"), output


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.alone
def test_a_hundred_thousand_time_waits_cost_it_less_than_a_second(well: tuple[float, int, str]) -> None:
    """Of CPU, beyond what it takes without them; its two looks are a second apart in any case."""
    many = size(3000, 100_000)
    (NET / "tcp_tw_reuse").write_text("0")
    (NET / "tcp_max_tw_buckets").write_text("200000")
    (NET / "ip_local_port_range").write_text("20000 60999")
    before, _, _ = well
    leave_time_waits(many)
    after, _, output = cost("--json")
    found = json.loads(output)["time_waits"]
    print(f"{found:,} TIME_WAITs: {after:.2f} s of CPU, {before:.2f} s without")
    assert found >= many
    assert after - before < 1.0


def cost(*words: str) -> tuple[float, int, str]:
    process = begun(*words)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    return used.ru_utime + used.ru_stime, process.returncode, output


def leave_time_waits(many: int, each: int = 1000) -> None:
    """To so many addresses that none of them runs out of ports."""
    with socket.create_server(("0.0.0.0", 7000), backlog=64) as listener:
        for number in range(many):
            place = number // each
            with socket.create_connection((f"127.1.{place // 200}.{place % 200 + 1}", 7000)):
                accepted, _ = listener.accept()
            accepted.close()
