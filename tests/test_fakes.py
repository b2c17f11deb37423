"""The fakes themselves: wires and world behave as uvloop's do where the heart can notice, toys as their
page says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.mux.deadlines import INF
from muxproxy.mux.work import Working
from muxproxy.protocols.contract import (
    ANSWER,
    BROKEN,
    EAGER,
    END_CLIENT,
    END_UPSTREAM,
    FIRST,
    IDEMPOTENT,
    INTERIM,
    LAST,
    ONEWAY,
    PIN,
    SWITCH,
    UNPIN,
    Reason,
    Sharing,
)
from tests.configured import backend
from tests.fakes import FakeWorld, RecordingWire, Stage
from tests.toys import Toy


class Brain:
    """Remembers what its wire tells it."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def on_data(self, data: bytes, now: float) -> None:
        self.told.append(data)

    def on_server_eof(self, now: float) -> bool:
        self.told.append("eof")
        return False

    def on_closed(self, error: str, now: float) -> None:
        self.told.append(("closed", error))

    def on_write_paused(self, now: float) -> None:
        self.told.append("paused")

    def on_write_resumed(self, now: float) -> None:
        self.told.append("resumed")


def wired(high: int = 100) -> tuple[FakeWorld, RecordingWire, Brain]:
    world = FakeWorld()
    wire = RecordingWire(world, high)
    wire.brain = brain = Brain()
    return world, wire, brain


# -- wires -----------------------------------------------------------------------------------------------


def test_a_wire_whose_peer_reads_delivers_at_once() -> None:
    _, wire, brain = wired()
    wire.write(b"a" * 1000)
    assert wire.received == b"a" * 1000
    assert wire.get_write_buffer_size() == 0
    assert brain.told == []


def test_a_wire_whose_peer_does_not_read_pauses_its_writer_once_and_resumes_it_at_a_quarter() -> None:
    _, wire, brain = wired(high=100)
    wire.takes = False
    wire.write(b"a" * 100)
    assert brain.told == []
    wire.write(b"b")
    wire.write(b"c")
    assert brain.told == ["paused"]
    wire.take(76)
    assert brain.told == ["paused"]
    wire.take(1)
    assert brain.told == ["paused", "resumed"]


def test_a_closed_wire_sends_what_it_has_and_is_gone_a_turn_later() -> None:
    world, wire, brain = wired()
    wire.takes = False
    wire.write(b"last")
    wire.close()
    world.end_turn()
    assert brain.told == []
    wire.take()
    assert brain.told == []
    world.end_turn()
    assert wire.received == b"last"
    assert brain.told == [("closed", "")]


def test_an_aborted_wire_loses_what_it_has_and_takes_no_more() -> None:
    world, wire, brain = wired()
    wire.takes = False
    wire.write(b"last")
    world.reset(wire)
    wire.write(b"more")
    world.end_turn()
    assert (wire.received, wire.was_reset) == (b"", True)
    assert brain.told == [("closed", "")]


def test_a_write_after_write_eof_is_an_error() -> None:
    _, wire, _ = wired()
    wire.write_eof()
    with pytest.raises(AssertionError, match="write_eof"):
        wire.write(b"x")


def test_a_paused_reader_finds_later_what_came_meanwhile() -> None:
    world, wire, brain = wired()
    wire.pause_reading()
    wire.bring(b"one")
    wire.bring_eof()
    assert brain.told == []
    wire.resume_reading()
    assert brain.told == []
    world.end_turn()
    assert brain.told == [b"one", "eof", ("closed", "")]


def test_what_a_server_had_sent_before_it_reset_is_read_all_the_same() -> None:
    stage = Stage(Sharing.EXCLUSIVE)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    server.wire.pause_reading()
    server.sends(b"ann +9\n")
    server.sends(b"half")
    assert ann.got() == b""
    server.breaks_off()
    assert ann.got() == b"ann +9\nhalf"


# -- the world -------------------------------------------------------------------------------------------


class Egg:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.wake = INF
        self.rang: list[float] = []

    def on_deadline(self, now: float) -> None:
        self.rang.append(now)
        self.deadline = INF


def test_time_stands_still_until_it_passes_and_stops_at_each_alarm() -> None:
    world = FakeWorld()
    eggs = [Egg(world.now + 1.0), Egg(world.now + 2.0)]
    world.fine.watch(eggs[0])
    world.slow.watch(eggs[1])
    world.pass_time(1.5)
    assert eggs[0].rang == [pytest.approx(1001.01)]
    assert eggs[1].rang == []
    world.pass_time(1.0)
    assert eggs[1].rang == [pytest.approx(1002.25)]
    assert world.now == 1002.5


def test_who_did_not_ask_for_an_alarm_is_not_looked_at() -> None:
    world = FakeWorld()
    egg = Egg(world.now + 1.0)
    world.fine.watch(egg)
    world._armed = INF  # as if the wheel had forgotten to ask
    world.pass_time(10.0)
    assert egg.rang == []


class Works(Working):
    def __init__(self) -> None:
        self.turns = 0

    def go_on(self, now: float) -> None:
        self.turns += 1


def test_work_that_a_deadline_has_begun_goes_on() -> None:
    stage = Stage(Sharing.EXCLUSIVE)
    work = Works()
    stage.world.later(0.5, lambda: stage.world.postpone(work))
    stage.passes(1.0)
    assert work.turns == 1
    stage.one_turn_each = True
    stage.world.later(0.5, lambda: stage.world.postpone(work))
    stage.passes(1.0)
    assert (work.turns, stage.world.next_turn()) == (1, True)
    assert work.turns == 2


def test_a_socket_counts_from_dial_until_it_is_gone() -> None:
    stage = Stage(Sharing.EXCLUSIVE)
    stage.asks(b"x\n")
    assert len(stage.world.sockets) == 1
    server = stage.connects()
    with stage.turn():
        server.wire.brain.close("test", stage.world.now)
        assert len(stage.world.sockets) == 1
    assert len(stage.world.sockets) == 0


def test_keys_find_their_place_in_the_configuration_and_an_unknown_one_is_an_error() -> None:
    config = backend(("a:1",), {"max_clients": 1, "timeout": 2.0, "idle_timeout": 3.0, "max_upgraded": 4})
    assert config.clients.max_connections == 1
    assert config.queue.timeout == 2.0
    assert config.upstream.idle_timeout == 3.0
    assert config.http.max_upgraded == 4
    with pytest.raises(TypeError, match="max_conections"):
        backend(("a:1",), {"max_conections": 1})


# -- toys ------------------------------------------------------------------------------------------------


def frames(data: bytes, sharing: Sharing = Sharing.ORDERED) -> list[tuple[bytes, int]]:
    return [(frame.data, frame.marks) for frame in Toy(sharing).requests().feed(data)]


def test_a_request_is_a_line_of_marks_and_a_body() -> None:
    assert frames(b"a\n") == [(b"a\n", FIRST | LAST)]
    assert frames(b"a idem eager oneway +2\nxyb\n") == [
        (b"a idem eager oneway +2\nxy", FIRST | LAST | IDEMPOTENT | EAGER | ONEWAY),
        (b"b\n", FIRST | LAST),
    ]
    assert frames(b"a +4\nx") == [(b"a +4\nx", FIRST)]
    assert frames(b"00000007 a\n", Sharing.TAGGED) == [(b"00000007 a\n", FIRST | LAST)]


def test_what_is_malformed_is_answered_and_what_cannot_be_answered_is_broken() -> None:
    ((data, marks),) = frames(b"!bad\nmore\n")
    assert data.startswith(b"no bad_request bye")
    assert marks == FIRST | LAST | ANSWER | END_CLIENT
    assert frames(b"?\n") == [(b"", FIRST | BROKEN)]
    assert frames(b"x" * 200)[0][1] & ANSWER


def test_an_exclusive_framer_stops_behind_each_request_until_it_may_go_on() -> None:
    framer = Toy(Sharing.EXCLUSIVE).requests()
    assert [frame.data for frame in framer.feed(b"a\nb\nc")] == [b"a\n"]
    assert (framer.held, framer.midway) == (3, False)
    framer.resume()
    assert [frame.data for frame in framer.feed(b"")] == [b"b\n"]
    framer.resume()
    assert list(framer.feed(b"")) == []
    assert (framer.held, framer.midway) == (1, True)


def test_a_dedicated_session_opens_before_its_first_byte() -> None:
    framer = Toy(Sharing.DEDICATED).requests()
    assert [(f.data, f.marks) for f in framer.feed(b"")] == [(b"", FIRST | EAGER)]
    assert [(f.data, f.marks) for f in framer.feed(b"any\n!thing")] == [(b"any\n!thing", 0)]


def test_replies_are_interim_switching_closing_or_hinting() -> None:
    framer = Toy(Sharing.EXCLUSIVE).replies()
    framer.expect(("a", "bye"))
    assert [f.marks for f in framer.feed(b"a 100\na hint=5 close\n")] == [
        INTERIM,
        FIRST | LAST | END_UPSTREAM | END_CLIENT,
    ]
    assert framer.idle_hint == 5.0
    framer.expect(("b",))
    assert [(f.data, f.marks) for f in framer.feed(b"b 101\nraw")] == [
        (b"b 101\n", FIRST | SWITCH),
        (b"raw", 0),
    ]


def test_a_reply_that_was_not_asked_for_or_is_cut_is_broken() -> None:
    assert [f.marks for f in Toy(Sharing.ORDERED).replies().feed(b"who\n")] == [BROKEN]
    framer = Toy(Sharing.ORDERED).replies()
    framer.expect(None)
    framer.feed(b"a +9\nhalf")
    assert [f.marks for f in framer.eof()] == [BROKEN]
    framer = Toy(Sharing.EXCLUSIVE).replies()
    framer.expect(None)
    framer.feed(b"a ~\nhalf")
    assert framer.eof()[0].marks & LAST


def test_a_session_remembers_answers_refuses_and_pins() -> None:
    toy = Toy(Sharing.ORDERED, sessions=True)
    framer = toy.requests()
    session = toy.session(framer)
    assert session is not None

    def ask(line: bytes) -> tuple[bytes, int]:
        frame = session.on_request(framer.feed(line)[0])
        return frame.data, frame.marks

    assert ask(b"a db=3\n") == (b"a remembered\n", FIRST | LAST | ANSWER)
    assert session.needs == "db=3"
    assert ask(b"a local\n") == (b"a here\n", FIRST | LAST | ANSWER)
    assert ask(b"a refuse\n")[1] == FIRST | LAST | ANSWER | END_CLIENT
    assert ask(b"a pin\n")[1] == FIRST | LAST | PIN
    assert ask(b"a\n")[1] == FIRST | LAST | PIN
    assert ask(b"a unpin\n")[1] == FIRST | LAST | PIN | UNPIN
    assert ask(b"a\n")[1] == FIRST | LAST


def test_states_are_the_same_object_for_session_and_connection() -> None:
    toy = Toy(Sharing.ORDERED, sessions=True)
    session, connection = toy.session(toy.requests()), toy.connection(toy.replies())
    assert session is not None
    assert connection is not None
    assert session.needs is connection.state
    session.on_request(toy.requests().feed(b"a db=2\n")[0])
    assert connection.prelude(session.needs) == (b"select db=2\n", 1)
    assert connection.state is session.needs


def test_a_refusal_is_a_whole_reply_in_the_toys_own_language() -> None:
    frame = Toy(Sharing.TAGGED).refusal(Reason.QUEUE_FULL, "why", tag=7, retry_after=3, closing=False)
    assert (frame.data, frame.marks) == (b"00000007 no queue_full retry=3 | why\n", FIRST | LAST)
    assert Toy(Sharing.TAGGED).retag(frame.data, 9).startswith(b"00000009 no")


@given(st.lists(st.sampled_from([b"a\n", b"bb idem +5\n12345", b"c +1\n\n"]), max_size=5), st.data())
def test_any_chunking_of_the_same_bytes_means_the_same(requests: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(requests)
    framer = Toy(Sharing.ORDERED).requests()
    found: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        for frame in framer.feed(stream[:size]):
            if frame.marks & FIRST:
                found.append(b"")
            found[-1] += frame.data
        stream = stream[size:]
    assert found == requests
    assert framer.held == 0
