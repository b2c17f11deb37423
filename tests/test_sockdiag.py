"""netlink's conversation: where a dump ends, how it is refused, and that one does not answer for another."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from muxproxy.sockdiag import AT_STATE, BIT, STATES, SockDiag, ended, is_socket, messages, uniform

DONE = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)
ALL = sum(BIT.values())


def message(state: int, more: int = 0) -> bytes:
    """One socket's, with so many bytes of attributes."""
    return struct.pack("=IHHIIBB", 88 + more, 20, 2, 1, 0, 2, state) + bytes(70 + more)


def refusal(code: int, kind: int = 2) -> bytes:
    return struct.pack("=IHHIIi", 36, kind, 0, 1, 0, -code) + bytes(16)


def test_the_end_of_a_dump_is_seen_alone_and_behind_sockets_and_so_is_a_refusal() -> None:
    many = message(6) * 3
    assert ended(many) is None
    assert ended(many + message(1, 8)) is None
    assert ended(many + DONE) == ended(DONE) == 0
    assert ended(refusal(errno.EPERM)) == errno.EPERM
    assert ended(many + refusal(errno.ENOENT, kind=3)) == errno.ENOENT  # at the end of a dump that went wrong


def test_messages_that_are_all_alike_need_not_be_walked_through() -> None:
    assert uniform(message(6) * 3) == 88
    assert uniform(message(6) + message(1, 8) + message(6)) == 0
    assert uniform(message(6) + message(1, 88)) == 0  # three times the first's length, and yet two
    assert uniform(message(6) + refusal(1) * 22) == 0
    assert [end - at for at, end in messages(message(6) + message(1, 8) + DONE)] == [88, 96, 20]


@pytest.mark.parametrize("data", [bytes(64), message(6)[:40], b"", struct.pack("=IHHII", 4, 20, 2, 1, 0)])
def test_what_is_cut_short_is_no_endless_loop(data: bytes) -> None:
    assert list(messages(data)) == []


def test_the_kernel_lists_a_port_and_the_state_is_where_it_is_looked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, SockDiag() as kernel:
        port = server.getsockname()[1]
        with socket.create_connection(server.getsockname()):
            found = [
                STATES[data[at + AT_STATE]]
                for data in kernel.dump(socket.AF_INET, ALL, destination=port)
                for at, _ in messages(data)
                if is_socket(data, at)
            ]
        assert found == ["ESTABLISHED"]


def test_a_dump_that_nobody_read_to_its_end_is_not_part_of_the_next() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, SockDiag() as kernel:
        next(kernel.dump(socket.AF_INET, ALL))  # its end is a datagram of its own
        data, *_ = kernel.dump(socket.AF_INET, ALL, source=server.getsockname()[1])
    assert [data[at + AT_STATE] for at, _ in messages(data) if is_socket(data, at)] == [
        STATES.index("LISTEN")
    ]


def test_a_refusal_is_an_error_with_its_number() -> None:
    with SockDiag() as kernel, pytest.raises(OSError, match="sock_diag") as error:
        next(kernel.dump(255, ALL))  # a family that nobody has
    assert error.value.errno in (errno.ENOENT, errno.EINVAL)
