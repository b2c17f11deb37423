"""sd_notify's datagrams."""

from __future__ import annotations

import os
import socket
import time

import pytest

from muxproxy.supervisor.systemd.notify import is_managed, notify, reloading


@pytest.fixture
def manager(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as it:
        it.bind(f"{tmp_path}/notify")
        it.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        yield it


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
    assert is_managed() is address.startswith("/")


def test_descriptors_go_with_the_words(manager):
    with socket.socket() as sock:
        notify("FDSTORE=1", "FDNAME=kept/1", descriptors=[sock.fileno()])
        words, descriptors, _, _ = socket.recv_fds(manager, 4096, 4)
        assert words == b"FDSTORE=1\nFDNAME=kept/1"
        [copy] = descriptors
        assert os.fstat(copy).st_ino == os.fstat(sock.fileno()).st_ino
        os.close(copy)


def test_a_manager_that_does_not_read_holds_nobody_up(manager):
    for _ in range(2000):  # more than net.unix.max_dgram_qlen, for certain
        notify("WATCHDOG=1", patience=0)
    notify("READY=1", patience=0.01)


def test_no_text_is_too_strange_to_be_told(manager):
    notify("STATUS=\udcff")
    assert manager.recv(4096) == rb"STATUS=\udcff"


async def test_a_reload_is_told_with_its_time_and_ends_whatever_becomes_of_it(manager):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    words = {}

    async def fail() -> None:
        async with reloading(True):
            words.update(word.split("=") for word in manager.recv(4096).decode().splitlines())
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        await fail()
    assert words["RELOADING"] == "1"
    assert before <= int(words["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert manager.recv(4096) == b"READY=1"
    async with reloading(False):
        pass
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)
