"""/proc: its texts, and a process of ours in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from muxproxy.doctor.reading import proc

# As Linux writes them, shortened.
SNMP = "Tcp: RtoAlgorithm ActiveOpens RetransSegs\nTcp: 1 17 5\nUdp: InDatagrams\nUdp: 9\n"
LIMITS = (
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max open files            1024                 524288               files     \n"
)


def test_counters_are_pairs_of_lines() -> None:
    assert proc.table(SNMP) == {
        "Tcp.RtoAlgorithm": 1,
        "Tcp.ActiveOpens": 17,
        "Tcp.RetransSegs": 5,
        "Udp.InDatagrams": 9,
    }
    assert proc.grown({"a": 1}, {"a": 3, "b": 2}) == {"a": 2, "b": 2}


def test_this_machine_has_the_counters_and_settings_that_are_judged() -> None:
    assert set(proc.counters()) == set(proc.COUNTERS)
    assert proc.counters()["Tcp.ActiveOpens"] > 0
    assert {"ip_local_port_range", "tcp_tw_reuse", "somaxconn", "file-nr"} <= proc.settings().keys()


def test_a_sandbox_that_hides_them_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proc, "NET", tmp_path)
    monkeypatch.setattr(proc, "SYS", tmp_path)
    assert (proc.counters(), proc.settings()) == ({}, {})


def test_whose_descriptors_are_listed_and_not_told_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's, without CAP_SYS_PTRACE: an empty list would say that it has no sockets."""

    def refused(name: str, *, dir_fd: int) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "readlink", refused)
    monkeypatch.setattr(proc, "pids", lambda: [os.getpid()])
    assert proc.held(mine=0) == ({}, 1)


def test_a_soft_limit_is_read_and_what_is_no_number_is_none() -> None:
    assert proc.soft_limit(LIMITS) == 1024
    assert proc.soft_limit(LIMITS.replace("1024  ", "unlimited")) == 0
    assert proc.soft_limit("") == 0


@pytest.mark.parametrize(
    ("line", "comm", "name"),
    [
        ("/usr/sbin/nginx -g daemon off;", "nginx", "nginx"),
        ("nginx: worker process", "nginx", "nginx"),
        ("/usr/bin/python3 -u /srv/worker.py --password x", "python3", "python3 worker.py"),
        ("python3 -I -m muxproxy.worker 3", "python3", "python3 -m muxproxy.worker"),
        ("python3 -c print(1)", "python3", "python3 -c"),
        ("java -Xmx1g -cp a.jar:b.jar -jar /srv/app.jar", "java", "java -jar app.jar"),
        ("node", "node", "node"),
        ("", "kthreadd", "kthreadd"),
        ("redis-cli -a secret", "redis-cli", "redis-cli"),
        ("/bin/a\nb\x1b[31m", "a", "a?b?[31m"),
        ("python3 evil\nmax_connections=9", "python3", "python3 evil?max_connections=9"),
        ("/bin/" + "x" * 99, "x", "x" * 60),
    ],
)
def test_a_process_is_called_by_what_it_does_and_never_by_its_secrets(
    line: str, comm: str, name: str
) -> None:
    assert proc.called(line.split(" "), comm) == name


def test_a_process_is_seen_with_its_sockets_its_limit_and_what_it_was_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", "input()", "--server=10.9.8.7:6379"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            pass_fds=(server.fileno(),),
            env={"REDIS": "redis://10.9.8.6:6379/0"},
        )
        try:
            inode = os.fstat(server.fileno()).st_ino
            found, _ = proc.held(os.getpid())
            assert inode in found[process.pid].sockets
            assert os.getpid() not in found
            assert proc.descriptor_limit(process.pid) > 0
            assert proc.is_told_of(process.pid, "10.9.8.7")
            assert proc.is_told_of(process.pid, "10.9.8.6")
            assert not proc.is_told_of(process.pid, "10.9.8.")
            assert not proc.is_told_of(process.pid, "0.9.8.7")
            assert proc.owner_of(process.pid) == proc.user_of(os.geteuid())
            assert proc.ancestors(process.pid) >= {process.pid, os.getpid()}
            assert proc.other_namespaces([process.pid]) == {}
            assert not proc.is_elsewhere(process.pid)
        finally:
            process.communicate(b"\n")
    assert (proc.name_of(process.pid), proc.owner_of(process.pid), proc.descriptor_limit(process.pid)) == (
        "",
        "",
        0,
    )


def test_a_user_without_a_name_is_a_number() -> None:
    assert (proc.user_of(0), proc.user_of(4_000_000_000)) == ("root", "4000000000")
