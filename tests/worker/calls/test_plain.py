"""The five calls, each of which has to do the same in both of its ways: the plain one here, and direct.c's
where the compiled build is tested. Every error that sockets of our own can be brought to."""

from __future__ import annotations

import errno
import importlib
import os
import resource
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from muxproxy import native
from muxproxy.worker import calls, visit
from muxproxy.worker.calls import plain
from tests.builds import TESTED

WAYS = ["plain", "direct"] if TESTED == native.COMPILED else ["plain"]
CLOSED = 1_000_003  # a descriptor that nobody has
PAIR = {
    "unix": socket.socketpair,
    "inet": lambda: tcp(socket.AF_INET, ("127.0.0.1", 0)),
    "inet6": lambda: tcp(socket.AF_INET6, ("::1", 0)),
}


def tcp(family: int, address: tuple[str, int]) -> tuple[socket.socket, socket.socket]:
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        there = socket.create_connection(listener.getsockname()[:2])
        return listener.accept()[0], there


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(f"muxproxy.worker.calls.{request.param}")


@pytest.fixture(params=PAIR)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours, which does not block, and its peer."""
    ours, peer = PAIR[request.param]()
    ours.setblocking(False)
    with ours, peer:
        yield ours, peer


def breaks(peer: socket.socket) -> None:
    """With an RST, by TCP; a unix socket does so if something was left unread."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def is_open(descriptor: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{descriptor}")


def test_what_is_used_is_what_this_build_is_to_have(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = importlib.import_module(f"muxproxy.worker.calls.{WAYS[-1]}")
    names = calls.__all__
    assert [getattr(calls, name) for name in names] == [getattr(chosen, name) for name in names]
    assert chosen.AT_ONCE == plain.AT_ONCE == visit.AT_ONCE


@pytest.mark.parametrize(("others", "build"), [([], native.PURE), (["direct"], native.COMPILED)])
def test_what_a_process_has_chosen_tells_its_build(others: list[str], build: str) -> None:
    """Where direct.c was not to be loaded a compiled heart is a mixed one."""
    names = [native.CALLS, f"{native.CALLS}.plain", *(f"{native.CALLS}.{name}" for name in others)]
    modules = [ModuleType(name) for name in names]
    assert native.running(modules) == build
    heart = ModuleType("muxproxy.mux.work")
    heart.__file__ = "work.so"
    assert native.running([heart, *modules]) == (native.COMPILED if others else native.MIXED)


@pytest.mark.parametrize("family", ["inet", "inet6", "unix"])
def test_who_is_accepted_does_not_block_and_is_nobody_elses(way: Any, family: str, tmp_path: Path) -> None:
    kind, address = {
        "inet": (socket.AF_INET, ("127.0.0.1", 0)),
        "inet6": (socket.AF_INET6, ("::1", 0)),
        "unix": (socket.AF_UNIX, str(tmp_path / "s")),
    }[family]
    with socket.socket(kind) as listener, socket.socket(kind) as peer:
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
        assert way.accept(listener.fileno()) == -errno.EAGAIN
        if family == "unix":
            peer.bind(f"\0{os.getpid()}{'long' * 20}")  # its address is longer than any other
        peer.connect(listener.getsockname())
        descriptor = way.accept(listener.fileno())
        assert not os.get_blocking(descriptor)
        assert not os.get_inheritable(descriptor)
        assert way.receive(descriptor) is None
        peer.send(b"hello")
        assert way.receive(descriptor) == b"hello"
        assert way.accept(listener.fileno()) == -errno.EAGAIN
        way.close(descriptor)
        assert peer.recv(1) == b""


def test_an_error_of_accept_is_a_number(way: Any) -> None:
    assert way.accept(CLOSED) == -errno.EBADF
    ours, peer = socket.socketpair()
    with ours, peer, open(os.devnull) as file:
        assert way.accept(file.fileno()) == -errno.ENOTSOCK
        assert way.accept(ours.fileno()) == -errno.EINVAL  # it does not listen


def test_where_no_descriptor_is_left_nobody_is_taken_from_the_backlog(way: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(False)
        free = os.dup(0)
        os.close(free)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            assert way.accept(listener.fileno()) == -errno.EMFILE
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        way.close(way.accept(listener.fileno()))


def test_what_comes_is_read_in_its_order_until_its_end(way: Any, pair: tuple[Any, Any]) -> None:
    ours, peer = pair
    assert way.receive(ours.fileno()) is None
    said = bytes(range(256)) * 100
    peer.sendall(said)
    peer.shutdown(socket.SHUT_WR)
    heard = []
    while data := way.receive(ours.fileno()):
        assert type(data) is bytes
        heard.append(data)
    while data is None:  # it is on its way
        data = way.receive(ours.fileno())
    assert b"".join([*heard, data]) == said[: sum(map(len, heard)) + len(data)]
    assert len(heard[0]) <= plain.AT_ONCE


def test_no_more_is_read_than_is_at_once(way: Any) -> None:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    with ours, peer:
        peer.sendall(b"x" * plain.AT_ONCE + b"yz")
        assert way.receive(ours.fileno()) == b"x" * plain.AT_ONCE
        assert way.receive(ours.fileno()) == b"yz"
        peer.close()
        assert way.receive(ours.fileno()) == b""
        assert way.receive(ours.fileno()) == b""


def test_what_is_sent_arrives_and_what_is_not_taken_is_told(way: Any, pair: tuple[Any, Any]) -> None:
    ours, peer = pair
    assert way.send(ours.fileno(), b"", False) == 0
    assert way.send(ours.fileno(), b"one", False) == 3
    assert way.send(ours.fileno(), b"two", True) == 3
    large = b"x" * 20_000_000
    sent = way.send(ours.fileno(), large, False)
    assert 0 < sent < len(large)
    while more := way.send(ours.fileno(), large, True):  # what the peer's kernel takes meanwhile
        sent += more
    assert way.send(ours.fileno(), b"more", False) == 0
    way.close(ours.detach())
    heard = b""
    while data := peer.recv(1_000_000):
        heard += data
    assert heard[:6] == b"onetwo"
    assert len(heard) == 6 + sent


def test_a_connection_that_broke_is_an_oserror_of_its_own_kind(way: Any, pair: tuple[Any, Any]) -> None:
    ours, peer = pair
    ours.send(b"unread")
    breaks(peer)
    with pytest.raises(ConnectionResetError) as reset:
        way.receive(ours.fileno())
    assert (reset.value.errno, reset.value.strerror) == (errno.ECONNRESET, "Connection reset by peer")
    assert way.receive(ours.fileno()) == b""  # an error is told once
    for last in (False, True):
        with pytest.raises(BrokenPipeError) as broken:  # and no SIGPIPE
            way.send(ours.fileno(), b"x", last)
        assert broken.value.errno == errno.EPIPE


def test_a_descriptor_that_is_not_open_is_told_by_each(way: Any) -> None:
    epoll = select.epoll()
    asked = [
        lambda: way.receive(CLOSED),
        lambda: way.send(CLOSED, b"x", False),
        lambda: way.send(CLOSED, b"x", True),
        lambda: way.close(CLOSED),
        lambda: way.watcher(epoll)(CLOSED),
    ]
    for ask in asked:
        with pytest.raises(OSError, match="Bad file descriptor") as bad:
            ask()
        assert bad.value.errno == errno.EBADF
    epoll.close()


def test_what_is_not_a_descriptor_or_bytes_reaches_no_call(way: Any) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        for wrong in ("1", None, 1.0, [1]):
            for call in (way.receive, way.close):
                with pytest.raises(TypeError):
                    call(wrong)
            with pytest.raises(TypeError):
                way.send(wrong, b"x", False)
        for wrong in ("x", None, 1):
            for last in (False, True):
                with pytest.raises(TypeError):
                    way.send(ours.fileno(), wrong, last)
        for large in (2**31, 2**63, 2**100, -(2**63) - 1):
            for call in (way.receive, way.close):
                with pytest.raises(OverflowError):
                    call(large)
        with pytest.raises(TypeError):
            way.send(ours.fileno(), b"x")
        assert way.send(ours.fileno(), memoryview(b"xyz")[1:], False) == 2
        assert peer.recv(10) == b"yz"


def test_what_is_closed_is_closed_once(way: Any) -> None:
    ours, peer = socket.socketpair()
    with peer:
        descriptor = ours.detach()
        assert way.close(descriptor) is None
        assert not is_open(descriptor)
        assert peer.recv(1) == b""
        with pytest.raises(OSError, match="Bad file descriptor"):
            way.close(descriptor)


def test_who_is_watched_is_told_of_by_what_it_can_be_read_for(way: Any, pair: tuple[Any, Any]) -> None:
    ours, peer = pair
    with select.epoll() as epoll:
        watch = way.watcher(epoll)
        watch(ours.fileno())
        assert epoll.poll(0) == []
        peer.send(b"x")
        assert epoll.poll(10) == [(ours.fileno(), select.EPOLLIN)]
        assert epoll.poll(10) == [(ours.fileno(), select.EPOLLIN)]  # until it has been read
        with pytest.raises(FileExistsError):
            watch(ours.fileno())
        with open(__file__) as file, pytest.raises(PermissionError):
            watch(file.fileno())
        epoll.unregister(ours.fileno())
        assert epoll.poll(0) == []
