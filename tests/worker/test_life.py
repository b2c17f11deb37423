"""What the kernel tells of a peer, on real sockets."""

from __future__ import annotations

import contextlib
import socket

from muxproxy.worker import life


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return ours, theirs


def option(sock: socket.socket, name: int) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, name)


def test_a_socket_asks_when_it_has_heard_nothing_and_gives_up_what_is_not_acknowledged() -> None:
    ours, theirs = pair()
    with ours, theirs:
        life.prepare(ours, 15.0, 60.0)
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert option(ours, socket.TCP_KEEPIDLE) == option(ours, socket.TCP_KEEPINTVL) == 15
        assert option(ours, socket.TCP_KEEPCNT) == life.PROBES
        assert option(ours, socket.TCP_USER_TIMEOUT) == 60_000
        life.ask(ours, 0.4)
        assert option(ours, socket.TCP_KEEPIDLE) == option(ours, socket.TCP_KEEPINTVL) == 1


def test_who_has_sent_last_waits_to_hear() -> None:
    ours, theirs = pair()
    with ours, theirs:
        theirs.sendall(b"hello")
        assert ours.recv(5) == b"hello"
        ours.settimeout(1.5)
        ours.sendall(b"question")
        with contextlib.suppress(TimeoutError):
            ours.recv(1)  # a second and a half of silence, which is what is measured
        unanswered, silent = life.hearing(ours)
        assert unanswered == 0  # its kernel has acknowledged it
        assert 1.4 <= silent < 60.0
        theirs.sendall(b"answer")
        assert ours.recv(6) == b"answer"
        assert life.hearing(ours) == (0, 0.0)


def test_what_is_no_tcp_socket_tells_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        life.prepare(ours, 15.0, 60.0)
        assert life.hearing(ours) == (0, 0.0)


def test_more_than_the_kernel_takes_is_as_much_as_it_takes() -> None:
    ours, theirs = pair()
    with ours, theirs:
        life.prepare(ours, 3600.0 * 24, 7 * 86400.0 * 1000)
        assert option(ours, socket.TCP_KEEPIDLE) == 32767
        assert option(ours, socket.TCP_USER_TIMEOUT) == 2**31 - 1
