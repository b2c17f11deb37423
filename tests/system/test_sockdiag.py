"""The judge is judged: a sampler that cannot see a ninth socket proves nothing."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator

import pytest

from tests.system.process import wait_for
from tests.system.sockdiag import Entry, Sampler, SockDiag, Watch


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.2", 0)) as server:
        yield server


def address(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{host}:{port}"


def open_connections(server: socket.socket, count: int, stack: contextlib.ExitStack) -> list[socket.socket]:
    return [stack.enter_context(socket.create_connection(server.getsockname())) for _ in range(count)]


@pytest.mark.parametrize("count", [8, 9])
def test_the_sampler_sees_exactly_as_many_sockets_as_are_open(listener: socket.socket, count: int) -> None:
    with Sampler(address(listener)) as sampler, contextlib.ExitStack() as stack:
        open_connections(listener, count, stack)
        tally = sampler.result()
    assert (tally.held, tally.seen, len(tally.worst)) == (count, count, count)
    assert tally.samples >= 1


def test_a_ninth_socket_is_seen_though_it_lives_for_a_moment_only(listener: socket.socket) -> None:
    with Sampler(address(listener)) as sampler, contextlib.ExitStack() as stack:
        open_connections(listener, 8, stack)
        with socket.create_connection(listener.getsockname()):
            before = sampler.now().samples
            wait_for(lambda: sampler.now().samples > before, within=5, what="another sample")
        assert sampler.result().held == 9


def test_sockets_are_seen_in_every_state_from_before_the_handshake_until_close() -> None:
    with SockDiag() as kernel, contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.2", 0))
        server.listen(0)

        def states() -> list[str]:
            return sorted(entry.state for entry in kernel.sockets(address(server)) if entry.inode)

        open_connections(server, 1, stack)  # fills the backlog of one
        assert select.select([server], [], [], 10)[0], "it stands in the backlog"
        hanging = stack.enter_context(socket.socket())
        hanging.setblocking(False)
        assert hanging.connect_ex(server.getsockname()) != 0
        assert states() == ["ESTABLISHED", "SYN_SENT"]
        hanging.close()
        accepted = stack.enter_context(server.accept()[0])
        accepted.close()
        wait_for(lambda: states() == ["CLOSE_WAIT"], within=10, what="the server's FIN")


def test_a_closed_socket_that_the_kernel_still_finishes_is_counted_apart(listener: socket.socket) -> None:
    with SockDiag() as kernel, socket.create_connection(listener.getsockname()) as client:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                client.send(bytes(1 << 20))  # nobody reads: what is left over keeps it in FIN_WAIT1
        client.close()
        watch = Watch(lambda: kernel.sockets(address(listener)))
        watch.sample()
        assert (watch.tally.held, watch.tally.lingering) == (0, 1)


def test_time_wait_is_left_out_by_the_kernel(listener: socket.socket) -> None:
    with SockDiag() as kernel:

        def leaves_time_wait() -> bool:
            """False when the kernel's table of TIME_WAITs is full, as after 50,000 connections."""
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
            client.close()
            accepted.close()
            wait_for(lambda: not kernel.sockets(address(listener)), within=5, what="the connection's end")
            return kernel.sockets(address(listener), states=("TIME_WAIT",)) != []

        wait_for(leaves_time_wait, within=30, what="a connection in TIME_WAIT")
        assert kernel.sockets(address(listener)) == []


def test_a_client_that_has_the_servers_port_at_another_address_is_not_the_server(
    listener: socket.socket,
) -> None:
    port = listener.getsockname()[1]
    elsewhere = "127.0.5.1"  # where no other test's client leaves a TIME_WAIT
    with (
        SockDiag() as kernel,
        socket.create_server(("127.0.0.1", 0)) as proxy,
        socket.create_connection(proxy.getsockname(), source_address=(elsewhere, port)),
        proxy.accept()[0] as accepted,
    ):
        assert accepted.getpeername() == (elsewhere, port)
        assert kernel.sockets(address(listener)) == []
        assert [entry.source for entry in kernel.sockets(f"{elsewhere}:{port}")] == [proxy.getsockname()]


def entry(cookie: int, inode: int = 1, source: str = "127.0.0.1") -> Entry:
    return Entry("ESTABLISHED", inode, (source, cookie), ("127.0.0.2", 80), cookie)


def test_a_socket_replaced_in_the_middle_of_a_dump_is_no_breach() -> None:
    first = [
        entry(number) for number in range(9)
    ]  # 0 was closed and 8 opened while the kernel walked its table
    dumps = iter([first, first[1:]])
    watch = Watch(lambda: next(dumps))
    watch.sample()
    assert (watch.tally.seen, watch.tally.held) == (9, 8)


def test_nine_sockets_that_two_dumps_list_are_a_breach() -> None:
    watch = Watch(lambda: [entry(number) for number in range(9)])
    watch.sample()
    assert (watch.tally.seen, watch.tally.held) == (9, 9)


def test_sockets_of_the_test_itself_can_be_left_out_by_their_source() -> None:
    watch = Watch(lambda: [entry(1), entry(2, source="127.0.0.99")], ignore_sources=("127.0.0.99",))
    watch.sample()
    assert watch.tally.held == 1
