"""sd_notify's datagrams."""

from __future__ import annotations

import os
import socket

import pytest

from muxproxy.supervisor.systemd import notify


@pytest.mark.parametrize("kind", ["a path", "abstract"])
def test_the_words_arrive_in_one_datagram(tmp_path, monkeypatch, kind):
    name = f"{tmp_path}/notify" if kind == "a path" else f"@muxproxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1", "STATUS=serving 1 backends")
        assert manager.recv(4096) == b"READY=1\nSTATUS=serving 1 backends"


@pytest.mark.parametrize("address", ["", "relative", "/nobody/listens/here"])
def test_without_a_manager_nothing_happens(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert notify("READY=1") is None
