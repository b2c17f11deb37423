"""Sockets that somebody else has bound become ours, and nobody else's file is removed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from muxproxy.supervisor.listening.adopting import Estate, adopt
from muxproxy.supervisor.listening.sockets import listen


def a_port() -> tuple[socket.socket, str]:
    sock = socket.create_server(("127.0.0.1", 0))
    return sock, f"127.0.0.1:{sock.getsockname()[1]}"


def test_each_is_taken_by_its_address_once_and_whoever_had_it() -> None:
    sock, address = a_port()
    estate = Estate()
    estate.add("old", address, sock.detach())
    assert estate.take("new", "127.0.0.1:1") is None
    listener = estate.take("new", address)
    assert listener is not None
    assert (listener.address, listener.bound) == (address, address)
    assert not os.get_inheritable(listener.socket.fileno())
    assert estate.take("new", address) is None
    listener.close()


def test_a_port_that_the_kernel_chose_is_its_backends_only() -> None:
    estate = Estate()
    sock, address = a_port()
    estate.add("web", "127.0.0.1:0", sock.detach())
    assert estate.take("cache", "127.0.0.1:0") is None
    listener = estate.take("web", "127.0.0.1:0")
    assert listener is not None
    assert listener.bound == address
    listener.close()


def test_another_spelling_is_the_same_address() -> None:
    estate = Estate()
    sock = socket.create_server(("::1", 0), family=socket.AF_INET6)
    port = sock.getsockname()[1]
    estate.add("web", f"[::1]:{port}", sock.detach())
    listener = estate.take("web", f"[0:0::1]:{port}")
    assert listener is not None
    assert listener.bound == f"[::1]:{port}"
    listener.close()


def test_the_file_of_a_unix_socket_goes_with_who_closes_it_and_stays_with_who_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    ours = listen(f"unix:{path}", 16)
    theirs = adopt(ours.address, os.dup(ours.socket.fileno()))
    ours.let_go()
    assert path.exists()
    theirs.close()
    assert not path.exists()


def test_what_nobody_takes_is_closed_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    ours = listen(f"unix:{path}", 16)
    estate = Estate()
    estate.add("gone", ours.address, os.dup(ours.socket.fileno()))
    ours.let_go()
    estate.close()
    assert not path.exists()


def test_a_file_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    ours = listen(f"unix:{path}", 16)
    descriptor = os.dup(ours.socket.fileno())
    ours.close()
    adopt(f"unix:{path}", descriptor).close()
