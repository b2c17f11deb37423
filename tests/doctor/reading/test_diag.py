"""sock_diag, decoded: messages as the kernel builds them, and the kernel itself."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from muxproxy.doctor.reading.diag import Diag, sockets, time_waits
from muxproxy.doctor.reading.sockets import Socket, TimeWait, ends
from tests.system.process import wait_for
from tests.test_sockdiag import DONE

V4 = (socket.AF_INET, "10.0.0.1", "10.0.0.5")


def message(
    ends: tuple[int, str, str] = V4,
    *,
    state: int = 6,
    sport: int = 40000,
    timer: tuple[int, int] = (0, 0),
    cookie: int = 7,
    expires: int = 0,
    queues: tuple[int, int] = (0, 0),
    inode: int = 0,
    attributes: bytes = b"",
) -> bytes:
    family, source, destination = ends
    one, other = (socket.inet_pton(family, host).ljust(16, b"\0") for host in (source, destination))
    body = struct.pack("=BBBB", family, state, *timer) + struct.pack("!HH", sport, 6379) + one + other
    body += struct.pack("=IQIIIII", 0, cookie, expires, *queues, 1000, inode) + attributes
    return struct.pack("=IHHII", 16 + len(body), 20, 2, 1, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def tcp_info(unacked: int = 0, said: int = 0, heard: int = 0, sent: int = 17) -> bytes:
    info = bytearray(232)
    for at, value in ((24, unacked), (44, said), (52, heard), (68, 250), (100, 3), (156, sent)):
        struct.pack_into("=I", info, at, value)
    return attribute(2, bytes(info))


def test_time_waits_are_their_ports_ends_age_and_cookie() -> None:
    found = list(time_waits(message(cookie=1, expires=59_500) + message(V4, sport=40001, cookie=2)))
    assert [(int.from_bytes(port, "big"), cookie, expires) for _, port, _, cookie, expires in found] == [
        (40000, 1, 59_500),
        (40001, 2, 0),
    ]
    assert ends(V4[0], found[0][2]) == ("10.0.0.1", "10.0.0.5", 6379)


def test_messages_of_several_lengths_and_the_dumps_end_among_them_are_read_one_by_one() -> None:
    longer = message(cookie=2, attributes=attribute(15, bytes(4)))
    assert [each[3] for each in time_waits(message(cookie=1) + longer + message(cookie=3))] == [1, 2, 3]
    assert [each[3] for each in time_waits(message(cookie=1) + DONE)] == [1]
    # As long as so many of the first, and not made of them.
    odd = message(cookie=2, attributes=attribute(15, bytes(40))) + message(
        cookie=3, attributes=attribute(15, bytes(36))
    )
    assert [each[3] for each in time_waits(message(cookie=1) + odd)] == [1, 2, 3]


def test_the_end_of_a_dump_is_no_socket() -> None:
    assert list(time_waits(DONE)) == []
    assert list(sockets(DONE)) == []


def test_a_kernel_without_ipv6_has_no_sockets_of_it_and_any_other_refusal_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Diag()
    refused = {socket.AF_INET6: errno.ENOENT}

    def dump(family: int, states: int, *, attributes: int) -> list[bytes]:
        if family in refused:
            raise OSError(refused[family], "refused")
        return [message(state=10, sport=80), DONE]

    monkeypatch.setattr(asked._kernel, "dump", dump)
    assert [each.local_port for each in asked.listening()] == [80]
    for family, code in ((socket.AF_INET6, errno.EPERM), (socket.AF_INET, errno.ENOENT)):
        refused.clear()
        refused[family] = code
        with pytest.raises(OSError, match="refused"):
            asked.live()
    asked.close()


def test_what_is_cut_short_is_no_socket_and_no_endless_loop() -> None:
    whole = message(state=1)
    assert list(sockets(whole[:40])) == []
    assert list(sockets(bytes(64))) == []
    assert len(list(sockets(message(state=1, attributes=struct.pack("=HH", 1, 2))))) == 1


def test_a_connection_is_busy_while_what_it_said_last_is_unanswered() -> None:
    def one(**info: int) -> Socket:
        (found,) = sockets(message(state=1, inode=5, attributes=tcp_info(**info)))
        return found

    assert one(said=10, heard=500).is_busy
    assert one(unacked=1, said=500, heard=10).is_busy
    assert not one(said=500, heard=10).is_busy
    assert not one(said=10, heard=500, sent=0).is_busy  # it is new, and nobody has said anything
    found = one()
    assert (found.state, found.inode, found.uid, found.rtt, found.retransmitted, found.sent) == (
        "ESTABLISHED",
        5,
        1000,
        250,
        3,
        17,
    )


def test_who_sends_again_is_unanswered_and_a_keepalive_that_is_asked_is_not() -> None:
    def is_unanswered(timer: int, tries: int) -> bool:
        return next(iter(sockets(message(state=2, timer=(timer, tries))))).is_unanswered

    assert is_unanswered(1, 2)
    assert is_unanswered(4, 1)
    assert not is_unanswered(1, 0)
    assert not is_unanswered(2, 3)


def test_a_listener_has_its_queue_backlog_and_drops() -> None:
    memory = attribute(7, struct.pack("=9I", *range(8), 42))
    (found,) = sockets(message(state=10, sport=80, queues=(3, 128), attributes=memory))
    assert (found.state, found.local_port, found.queue, found.backlog, found.dropped) == (
        "LISTEN",
        80,
        3,
        128,
        42,
    )


def test_the_kernel_lists_what_is_there() -> None:
    asked = Diag()
    with socket.create_server(("127.0.0.1", 0), backlog=17) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            (listening,) = (each for each in asked.listening() if each.local_port == port)
            assert (listening.backlog, listening.queue) == (17, 1)
            mine = client.getsockname()[1]
            place = ("127.0.0.1", "127.0.0.1", port)
            (live,) = (each for each in asked.live() if ends(each.family, each.key) == place)
            assert (live.state, live.local_port) == ("ESTABLISHED", mine)
            accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(1) == b""

        def mine_that_wait() -> list[TimeWait]:
            """The kernel may have put off what comes after the last FIN."""
            listed = [each for _, found in asked.time_waits() for each in found]
            return [each for each in listed if each[3] == live.cookie]

        (wait,) = wait_for(mine_that_wait, within=10, what="it is in TIME_WAIT")
        assert int.from_bytes(wait[1], "big") == mine
        assert 50_000 < wait[4] <= 60_000
    asked.close()
