"""Hosts of a show: a client and a server with a wire between them, whose settings are theirs alone."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from muxproxy.stage import hosts
from muxproxy.stage.hosts import CLIENT, Unable, joined, loopback

SETTINGS = {"ip_local_port_range": "32768 32777", "tcp_tw_reuse": "0"}
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="root may always have namespaces")


@is_root
def test_the_client_reaches_each_address_of_the_server_from_ports_of_its_own_range() -> None:
    with joined(3, SETTINGS) as network:
        for address in network.addresses:
            with network.server.inside():
                server = socket.create_server((address, 80))
            with server, network.client.inside(), socket.create_connection((address, 80), 5) as sock:
                host, port = sock.getsockname()
                assert host == CLIENT
                assert 32768 <= port <= 32777
                census = network.client.census()
                assert census.count(destination=80) == {"ESTABLISHED": 1}
                census.close()


@is_root
def test_a_child_runs_on_the_host_and_this_machines_settings_stay() -> None:
    before = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    with joined(1, SETTINGS) as network:
        assert network.client.setting("ip_local_port_range") == "32768 32777"
        code = "print(open('/proc/sys/net/ipv4/tcp_tw_reuse').read().strip())"
        child = subprocess.run(
            [sys.executable, "-c", code],
            preexec_fn=network.client.before(),  # as stage.py does it
            capture_output=True,
            text=True,
            check=True,
        )
        assert child.stdout == "0\n"
    assert Path("/proc/sys/net/ipv4/ip_local_port_range").read_text() == before


@is_root
def test_nothing_of_it_stays() -> None:
    def namespaces() -> int:
        return sum(
            "net:[" in os.readlink(path) for path in Path("/proc/self/fd").glob("*") if path.is_symlink()
        )

    before = namespaces()
    with joined(1, {}):
        assert namespaces() == before + 2
    with pytest.raises(Unable, match="cannot be made"):
        joined(1, {"ip_local_port_range": "nonsense"})
    assert namespaces() == before


def test_without_ip_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "_ip_program", lambda: None)
    with pytest.raises(Unable, match="iproute2"):
        joined(1, {})


def test_loopback_is_this_machine() -> None:
    with loopback(2) as network:
        assert network.addresses == ["127.0.2.1", "127.0.2.2"]
        assert network.client.before() is None
        with network.server.inside(), socket.create_server((network.addresses[1], 0)) as server:
            socket.create_connection(server.getsockname(), 5).close()


@pytest.mark.parametrize(
    ("code", "why"),
    [(errno.EACCES, "Permission denied"), (errno.ENOSPC, "user.max_user_namespaces is used up")],
)
def test_who_is_refused_inside_of_a_user_namespace_is_told_and_stays_where_he_was(
    code: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ubuntu's AppArmor lets everybody into one, and then permits nothing."""

    def refused(flags: int) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    def entered() -> None:
        os.chdir("/")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(hosts, "_call", refused)
    monkeypatch.setattr(hosts, "_libc", SimpleNamespace(unshare=lambda flags: -1))
    monkeypatch.setattr(hosts, "_own_user_namespace", entered)
    here = os.getcwd()
    with pytest.raises(Unable, match=rf"{why}.*: root has them"):
        joined(1, {})
    assert os.getcwd() == here


def test_an_ordinary_user_has_them_inside_of_a_user_namespace() -> None:
    """In a process of its own: it never comes back to the machine's network."""
    code = """
import os, sys
from muxproxy.stage.hosts import Unable, joined
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    with joined(1, {"tcp_tw_reuse": "0"}) as network:
        print(network.client.setting("tcp_tw_reuse"))
except Unable as reason:
    print("unable", reason)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n" or (done.stdout.startswith("unable") and "root has them" in done.stdout)
