"""The wire of a client that has not asked twice: what it does with its socket, and what it leaves to a
transport. (Between clients and servers: test_visitors.py.)"""

from __future__ import annotations

import os
import socket

import pytest

from muxproxy.worker import visit
from muxproxy.worker.visit import Lobby, Visit, Visitor


class Hands(Visitor):
    """Of a visit that stands alone."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.paused = False
        self.owed = False
        self.rested = False

    def pause_writing(self) -> None:
        self.said.append("pause")

    def resume_writing(self) -> None:
        self.said.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.said.append("lost")

    def open(self, data: bytes) -> None:
        self.said.append(f"open {data.decode()}".strip())

    def data_received(self, data: bytes) -> None:
        self.said.append(data.decode())

    def eof_received(self) -> bool:
        self.said.append("eof")
        return False

    def on_bug(self) -> None:
        self.said.append("bug")

    def is_owed(self) -> bool:
        return self.owed

    def is_read_paused(self) -> bool:
        return self.paused

    def has_rested(self, idle: float) -> bool:
        return self.rested

    def come_back(self, idle: float) -> bool:
        self.said.append("looked at")
        return not self.owed


class Alone:
    """One visit in a lobby whose next turn is `turn()`; `peer` is its far end."""

    def __init__(self) -> None:
        self.calls: list = []
        self.later: list = []
        self.adopted: list[int] = []
        lobby = self.lobby = Lobby(
            self.calls.append,
            lambda delay, call: (self.calls if delay < 1.0 else self.later).append(call),
            lambda fd, ready: None,
            lambda fd, family, hands: self.adopted.append(fd),
        )
        ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        ours.setblocking(False)
        self.family = ours.family
        self.descriptor = ours.detach()
        self.hands = Hands()
        self.visit = Visit(lobby, self.hands, self.family, self.descriptor)
        self.visit.set_write_buffer_limits(100, 25)

    def turn(self) -> None:
        calls, self.calls[:] = list(self.calls), []
        for call in calls:
            call()

    def close(self) -> None:
        self.peer.close()
        if self.visit._moving or not self.visit.closing:  # no transport that closes it
            os.close(self.descriptor)


class Transport:
    """What is done with one."""

    def __init__(self, takes: bool = True) -> None:
        self.done: list[object] = []
        self.buffered = 0
        self.takes = takes

    def write(self, data: bytes) -> None:
        self.done.append(data)
        self.buffered += 0 if self.takes else len(data)

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def __getattr__(self, name: str) -> object:
        return lambda: self.done.append(name)


@pytest.fixture
def alone():
    alone = Alone()
    yield alone
    alone.close()


def test_what_is_written_and_closed_in_one_turn_needs_no_transport(alone: Alone) -> None:
    alone.visit.write(b"bye")
    alone.visit.close()
    assert alone.peer.recv(10) == b"bye"
    assert alone.peer.recv(10) == b""
    assert alone.hands.said == []  # a turn later, as by a transport
    alone.turn()
    assert alone.adopted == []
    assert alone.hands.said == ["lost"]
    assert alone.visit.is_closing()
    assert alone.visit.get_extra_info("socket") is None
    alone.visit.write(b"more")
    alone.visit.close()
    alone.visit.abort()
    alone.turn()
    assert alone.hands.said == ["lost"]


def test_parts_are_written_as_one(alone: Alone) -> None:
    alone.visit.writelines([b"a", memoryview(b"xbx")[1:2], b"c"])
    assert alone.peer.recv(10) == b"abc"


def test_what_goes_on_is_adopted_once(alone: Alone) -> None:
    alone.visit.write(b"one")
    alone.visit.write(b"two")
    alone.turn()
    assert alone.adopted == []
    alone.visit.stay()
    alone.visit.write_eof()
    assert alone.adopted == [alone.descriptor]
    transport = Transport()
    alone.visit.settle(transport)
    assert transport.done == ["write_eof"]
    assert alone.visit.get_extra_info("socket") is None
    assert alone.peer.recv(10) == b"onetwo"


def fill(alone: Alone) -> int:
    """More than its socket takes. Returns how much that was."""
    alone.visit.write_last(b"x" * 10_000_000)
    return 10_000_000 - alone.visit.get_write_buffer_size()


def test_what_its_socket_does_not_take_is_reason_enough_to_stay(alone: Alone) -> None:
    fill(alone)
    assert alone.adopted == []  # unless it is closed in this very turn
    alone.turn()
    assert alone.adopted == [alone.descriptor]


def test_whoever_gets_no_transport_for_its_last_bytes_is_closed_and_told(alone: Alone) -> None:
    def adopt(*_: object) -> None:
        raise MemoryError

    alone.lobby.adopt = adopt
    fill(alone)
    alone.visit.close()
    alone.turn()
    assert alone.hands.said == ["pause", "bug", "lost"]
    assert alone.visit.is_closing()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(alone.descriptor)


def test_a_rest_between_two_requests_begins_the_count_again(alone: Alone) -> None:
    alone.visit.begin()
    alone.visit.write(b"re")
    for rested in [*[False] * (visit.OFTEN - 1), True, *[False] * visit.OFTEN]:
        assert alone.adopted == []
        alone.hands.rested = rested
        alone.peer.send(b"x")
        alone.lobby.on_readable()
    assert alone.adopted == [alone.descriptor]


def test_who_has_rested_since_its_last_reply_needs_no_transport_unless_it_says_much(alone: Alone) -> None:
    alone.hands.rested = True
    alone.visit.begin()
    for number in range(3):
        alone.peer.send(b"%d" % number)
        alone.lobby.on_readable()
        alone.visit.write(b"re")
    assert alone.hands.said == ["open", "0", "1", "2"]
    assert alone.adopted == []
    alone.peer.send(b"x" * visit.AT_ONCE)
    alone.lobby.on_readable()
    assert alone.adopted == [alone.descriptor]


def test_who_comes_silent_is_read_when_it_speaks_and_stays_when_it_does_so_again(
    alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visit, "OFTEN", 1)
    alone.visit.begin()
    assert alone.hands.said == ["open"]
    alone.peer.send(b"one")
    alone.lobby.on_readable()
    alone.visit.write(b"re")
    alone.lobby.on_readable()
    assert alone.adopted == []
    alone.peer.send(b"two")
    alone.lobby.on_readable()
    assert alone.hands.said == ["open", "one", "two"]
    assert alone.adopted == [alone.descriptor]
    alone.peer.send(b"three")
    alone.lobby.on_readable()  # now it is its transport that reads
    assert alone.hands.said == ["open", "one", "two"]


def test_a_fin_is_told_by_the_transport_if_something_is_owed(alone: Alone) -> None:
    alone.visit.begin()
    alone.peer.shutdown(socket.SHUT_WR)
    alone.hands.owed = True
    alone.lobby.on_readable()
    assert alone.hands.said == ["open"]
    assert len(alone.adopted) == 1


def test_else_it_is_told_at_once_and_the_visit_ends(alone: Alone) -> None:
    alone.visit.begin()
    alone.peer.shutdown(socket.SHUT_WR)
    alone.lobby.on_readable()
    assert alone.hands.said == ["open", "eof"]
    assert alone.visit.is_closing()
    alone.lobby.on_readable()
    alone.turn()
    assert alone.hands.said == ["open", "eof", "lost"]


def test_who_has_asked_by_then_is_opened_with_that_and_who_has_left_is_not(alone: Alone) -> None:
    alone.peer.send(b"one")
    alone.visit.begin()
    assert alone.hands.said == ["open one"]
    other = Alone()
    other.peer.close()
    other.visit.begin()
    assert other.hands.said == []
    other.turn()
    assert other.hands.said == ["lost"]
    assert other.visit.is_closing()


def test_the_end_of_one_visit_may_be_anothers_in_the_same_turn(alone: Alone) -> None:
    other = Alone()
    two = other.visit = Visit(alone.lobby, other.hands, other.family, other.descriptor)
    for visit_, peer in ((alone.visit, alone.peer), (two, other.peer)):
        visit_.begin()
        peer.send(b"x")
    for hands, victim in ((alone.hands, two), (other.hands, alone.visit)):
        hands.data_received = lambda data, victim=victim: victim.abort()
    alone.lobby.on_readable()
    assert [alone.visit.closing, two.closing].count(True) == 1
    other.close()


def test_what_the_socket_does_not_take_is_the_transports_to_write_and_then_to_close(alone: Alone) -> None:
    taken = fill(alone)
    assert 0 < taken < 10_000_000
    assert alone.hands.said == ["pause"]
    alone.visit.write_last(b"end")
    alone.visit.close()
    alone.visit.write(b"too late")
    assert len(alone.adopted) == 1
    transport = Transport()
    alone.visit.settle(transport)
    assert transport.done == [b"x" * (10_000_000 - taken), b"end", "close"]
    assert alone.hands.said == ["pause", "resume"]


def test_who_takes_nothing_stays_paused_until_the_transport_says_so(alone: Alone) -> None:
    fill(alone)
    alone.visit.stay()
    alone.visit.settle(Transport(takes=False))
    assert alone.hands.said == ["pause"]


def test_an_abort_leaves_nothing_to_be_written(alone: Alone) -> None:
    fill(alone)
    alone.visit.close()
    alone.visit.abort()
    assert alone.visit.get_write_buffer_size() == 0
    transport = Transport()
    alone.visit.settle(transport)
    assert transport.done == ["close"]


def test_who_is_not_read_is_not_read_by_its_transport(alone: Alone) -> None:
    alone.hands.paused = True
    for still in (True, False):
        transport = Transport()
        alone.visit.settle(transport)
        alone.hands.paused = still
        alone.turn()  # it began to read when connection_made() returned
        assert transport.done == (["pause_reading"] if still else [])
        alone.hands.paused = True


def test_a_peer_that_was_faster_is_lost_a_turn_later(alone: Alone) -> None:
    alone.peer.close()
    alone.visit.write(b"bye")
    assert alone.visit.is_closing()
    assert alone.hands.said == []
    alone.turn()
    assert alone.hands.said == ["lost"]
    assert alone.adopted == []


def test_who_stays_is_looked_at_in_turns_until_it_comes_back(
    alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visit, "MANY", 10)
    given: list[str] = []
    alone.lobby.give_back = lambda: given.append("memory")
    crowd = [Hands() for _ in range(visit.LOOKS + 1)]
    for hands in crowd:
        hands.owed = True
        alone.lobby.on_stays(hands)
    alone.turn()
    assert sum(len(hands.said) for hands in crowd) == 2
    for _ in range(visit.LOOKS):
        alone.turn()
    assert all(hands.said for hands in crowd)
    for hands in crowd:
        hands.owed = False
    while alone.calls:
        alone.turn()
    assert not alone.lobby._staying
    for times in (1, 2):  # not again so soon, and a while later
        alone.lobby.on_stays(crowd[0])
        while alone.calls:
            alone.turn()
        assert len(given) == times
        alone.later.pop()()


def test_who_has_come_back_has_asked_before(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "OFTEN", 1)
    alone.visit.come_back()
    alone.peer.send(b"again")
    alone.lobby.on_readable()
    assert alone.hands.said == ["again"]
    assert len(alone.adopted) == 1


def test_who_is_not_read_gets_no_transport_for_it_which_would_read(alone: Alone) -> None:
    alone.peer.send(b"x" * visit.AT_ONCE)
    alone.hands.paused = True
    alone.visit.begin()
    assert alone.lobby.reads == 0
    assert alone.adopted == []
    alone.hands.paused = False
    alone.visit.resume_reading()
    alone.peer.send(b"x" * visit.AT_ONCE)
    alone.lobby.on_readable()
    assert len(alone.adopted) == 1
