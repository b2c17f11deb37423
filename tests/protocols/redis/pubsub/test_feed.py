"""Channels of many clients over one connection: who gets what and when, and what the server is told."""

from __future__ import annotations

from typing import Any

import pytest

from muxproxy.protocols.contract import FIRST, LAST, PUSH, Frame
from muxproxy.protocols.redis.pubsub import feed
from muxproxy.protocols.redis.pubsub.feed import PubSub
from tests.protocols.redis.talk import HELLO_REPLY, Talk, command, error, protocol

NOPERM = error("NOPERM this user has no permissions to access one of the channels used as arguments")


def ack(verb: str, name: str | None, count: int, mark: str = "*") -> bytes:
    shown = f"${len(name)}\r\n{name}" if name is not None else "$-1" if mark == "*" else "_"
    return f"{mark}3\r\n${len(verb)}\r\n{verb}\r\n{shown}\r\n:{count}\r\n".encode()


def message(channel: str, text: str, mark: str = "*", kind: str = "message") -> bytes:
    words = (kind, channel, text)
    return f"{mark}3\r\n".encode() + b"".join(b"$%d\r\n%b\r\n" % (len(w), w.encode()) for w in words)


class Room:
    """One feed, its clients, and what went to the server and came of it."""

    def __init__(self, resp: int = 2) -> None:
        self.protocol = protocol()
        self.feed: PubSub = self.protocol.feed()
        self.resp = resp

    def client(self) -> Talk:
        talk = Talk(self.protocol)
        if self.resp == 3:
            talk.says("HELLO 3")
            talk.hears(HELLO_REPLY)
        return talk

    def asks(self, client: Talk, line: str) -> bytes:
        """What the server is told."""
        assert client.says(line) in ("listen", "listen mute")
        return self.feed.on_request(client.session, client.frame)

    def pushes(self, data: bytes, note: Any = None) -> tuple[bytes, list[Any]]:
        got, listeners = self.feed.on_push(Frame(data, FIRST | LAST | PUSH, note))
        return got, list(listeners)

    def answers(self, *clients: Talk) -> list[bytes]:
        """To each of `clients`, in order, and to nobody else."""
        taken = self.feed.take()
        assert [session for session, _ in taken] == [client.session for client in clients]
        return [reply for _, reply in taken]


# -- subscribing ---------------------------------------------------------------------------------------------


def test_a_channel_is_subscribed_with_its_first_listener_and_left_with_its_last() -> None:
    room = Room()
    ann, bob = room.client(), room.client()
    assert room.asks(ann, "SUBSCRIBE a") == command("SUBSCRIBE a")
    assert room.answers() == []
    assert room.asks(bob, "SUBSCRIBE a") == b""
    room.pushes(ack("subscribe", "a", 1))
    assert room.answers(ann, bob) == [ack("subscribe", "a", 1)] * 2
    assert room.asks(ann, "UNSUBSCRIBE a") == b""
    assert room.answers(ann) == [ack("unsubscribe", "a", 0)]
    assert not room.feed.is_empty()
    assert room.asks(bob, "UNSUBSCRIBE") == command("UNSUBSCRIBE a")
    assert room.answers(bob) == [ack("unsubscribe", "a", 0)]
    assert room.feed.is_empty()


def test_a_message_goes_to_all_listeners_of_its_channel_in_the_order_in_which_they_joined() -> None:
    room = Room()
    clients = [room.client() for _ in range(5)]
    for client in clients:
        room.asks(client, "SUBSCRIBE a")
    room.asks(clients[2], "SUBSCRIBE b")
    room.pushes(ack("subscribe", "a", 1))
    room.pushes(ack("subscribe", "b", 2))
    sessions = [client.session for client in clients]
    data = message("a", "hi")
    assert room.pushes(data) == (data, sessions)
    assert room.pushes(message("b", "hi"))[1] == [sessions[2]]
    room.asks(clients[1], "UNSUBSCRIBE a")
    assert room.pushes(data)[1] == [sessions[0], *sessions[2:]]
    assert room.pushes(message("none", "hi"))[1] == []
    assert room.feed.messages == 4


def test_nobody_gets_a_message_before_the_acknowledgement() -> None:
    room = Room()
    ann = room.client()
    room.asks(ann, "SUBSCRIBE a b")
    room.pushes(ack("subscribe", "a", 1))
    assert room.pushes(message("a", "early"))[1] == []
    assert room.answers() == []
    room.pushes(ack("subscribe", "b", 2))
    assert room.answers(ann) == [ack("subscribe", "a", 1) + ack("subscribe", "b", 2)]
    assert room.pushes(message("a", "hi"))[1] == [ann.session]


def test_each_channel_is_asked_for_alone_so_that_an_error_is_ones_own() -> None:
    room = Room()
    assert room.asks(room.client(), "SUBSCRIBE a b a") == command("SUBSCRIBE a") + command("SUBSCRIBE b")


def test_counts_are_the_clients_own_and_shard_channels_are_counted_apart() -> None:
    room = Room()
    ann, bob = room.client(), room.client()
    room.asks(ann, "SUBSCRIBE a b a")
    for name in "ab":
        room.pushes(ack("subscribe", name, 7))
    assert room.answers(ann) == [b"".join(ack("subscribe", *pair) for pair in (("a", 1), ("b", 2), ("a", 2)))]
    room.asks(bob, "PSUBSCRIBE a*")
    room.pushes(ack("psubscribe", "a*", 7))
    room.asks(bob, "SUBSCRIBE a")
    room.asks(bob, "SSUBSCRIBE s")
    room.pushes(ack("ssubscribe", "s", 1))
    expected = [ack("psubscribe", "a*", 1), ack("subscribe", "a", 2), ack("ssubscribe", "s", 1)]
    assert room.answers(bob, bob, bob) == expected
    room.asks(bob, "SUNSUBSCRIBE")
    room.asks(bob, "UNSUBSCRIBE z a")
    expected = [ack("sunsubscribe", "s", 0), ack("unsubscribe", "z", 2) + ack("unsubscribe", "a", 1)]
    assert room.answers(bob, bob) == expected
    room.asks(bob, "UNSUBSCRIBE")
    assert room.answers(bob) == [ack("unsubscribe", None, 1)]


def test_resp3_is_written_as_pushes() -> None:
    room = Room(resp=3)
    ann = room.client()
    room.asks(ann, "SUBSCRIBE a")
    room.pushes(ack("subscribe", "a", 1, ">"))
    assert room.answers(ann) == [ack("subscribe", "a", 1, ">")]
    data = message("a", "hi", ">")
    assert room.pushes(data) == (data, [ann.session])
    room.asks(ann, "PUNSUBSCRIBE")
    assert room.answers(ann) == [ack("punsubscribe", None, 1, ">")]


@pytest.mark.parametrize(("verb", "kind"), [("PSUBSCRIBE", "pmessage"), ("SSUBSCRIBE", "smessage")])
def test_patterns_and_shard_channels_have_messages_of_their_own(verb: str, kind: str) -> None:
    room = Room()
    ann, bob = room.client(), room.client()
    room.asks(ann, f"{verb} a*")
    room.asks(bob, "SUBSCRIBE a*")
    room.pushes(ack(verb.lower(), "a*", 1))
    room.pushes(ack("subscribe", "a*", 1))
    assert room.pushes(message("a*", "abc", kind=kind))[1] == [ann.session]
    assert room.pushes(message("a*", "abc"))[1] == [bob.session]


def test_a_clients_requests_are_answered_one_after_the_other() -> None:
    room = Room()
    ann = room.client()
    room.asks(ann, "SUBSCRIBE a")
    assert room.asks(ann, "UNSUBSCRIBE a") == b""
    assert room.answers() == []
    room.pushes(ack("subscribe", "a", 1))
    assert room.answers(ann, ann) == [ack("subscribe", "a", 1), ack("unsubscribe", "a", 0)]
    assert room.feed.flush() == command("UNSUBSCRIBE a")
    assert room.feed.is_empty()


def test_who_comes_while_the_server_is_told_to_stop_waits_for_the_new_acknowledgement() -> None:
    room = Room()
    ann, bob = room.client(), room.client()
    room.asks(ann, "SUBSCRIBE a")
    room.pushes(ack("subscribe", "a", 1))
    room.asks(ann, "UNSUBSCRIBE a")
    room.answers(ann, ann)
    assert room.asks(bob, "SUBSCRIBE a") == command("SUBSCRIBE a")
    assert room.pushes(message("a", "late"))[1] == []
    room.pushes(ack("unsubscribe", "a", 0))
    assert room.answers() == []
    room.pushes(ack("subscribe", "a", 1))
    assert room.answers(bob) == [ack("subscribe", "a", 1)]


def test_reset_leaves_everything_without_a_word_but_its_own() -> None:
    room = Room(resp=3)
    ann = room.client()
    room.asks(ann, "SUBSCRIBE a")
    assert room.asks(ann, "RESET") == b""
    room.pushes(ack("subscribe", "a", 1, ">"))
    assert room.answers(ann, ann) == [ack("subscribe", "a", 1, ">"), b"+RESET\r\n"]
    assert room.feed.flush() == command("UNSUBSCRIBE a")
    assert not ann.session.listening
    assert room.feed.is_empty()


# -- errors --------------------------------------------------------------------------------------------------


def test_a_channel_that_is_refused_is_the_error_of_the_whole_request_which_joins_nothing() -> None:
    room = Room()
    ann, bob = room.client(), room.client()
    room.asks(ann, "SUBSCRIBE a no b")
    room.asks(bob, "SUBSCRIBE b")
    room.pushes(ack("subscribe", "a", 1))
    room.pushes(NOPERM)
    assert room.answers() == []
    room.pushes(ack("subscribe", "b", 2))
    assert room.answers(ann, bob) == [NOPERM, ack("subscribe", "b", 1)]
    assert room.feed.flush() == command("UNSUBSCRIBE a")
    assert room.pushes(message("b", "hi"))[1] == [bob.session]
    assert not ann.session.listening
    assert ann.says("GET a") == "shared"


def test_a_channel_that_was_refused_is_asked_for_again_by_the_next() -> None:
    room = Room()
    ann, bob = room.client(), room.client()
    room.asks(ann, "SUBSCRIBE no")
    room.pushes(NOPERM)
    room.answers(ann)
    assert room.asks(bob, "SUBSCRIBE no") == command("SUBSCRIBE no")


def test_what_else_a_client_listens_to_does_not_suffer_from_an_error() -> None:
    room = Room()
    ann = room.client()
    room.asks(ann, "SUBSCRIBE a")
    room.pushes(ack("subscribe", "a", 1))
    room.asks(ann, "SUBSCRIBE no")
    room.pushes(NOPERM)
    assert room.answers(ann, ann)[1] == NOPERM
    assert room.pushes(message("a", "hi"))[1] == [ann.session]
    assert isinstance(ann.says("GET a"), bytes)  # still subscribed
    assert ann.session.listening


def test_an_error_is_not_said_to_who_wants_no_replies() -> None:
    room = Room()
    ann = room.client()
    ann.says("CLIENT REPLY OFF")
    room.asks(ann, "SUBSCRIBE no")
    room.pushes(NOPERM)
    assert room.answers(ann) == [b""]
    room.asks(ann, "SUBSCRIBE a")
    room.pushes(ack("subscribe", "a", 1))
    assert room.answers(ann) == [ack("subscribe", "a", 1)]  # seen on 7.0.15


def test_a_message_that_was_too_large_cuts_who_should_have_had_it() -> None:
    room = Room()
    ann = room.client()
    room.asks(ann, "SUBSCRIBE a")
    room.pushes(ack("subscribe", "a", 1))
    assert room.pushes(message("a", "hi")[:40], "too large") == (b"", [ann.session])


# -- leaving -------------------------------------------------------------------------------------------------


def test_who_leaves_is_forgotten_with_its_request() -> None:
    room = Room()
    ann, bob = room.client(), room.client()
    room.asks(ann, "SUBSCRIBE a b")
    room.asks(bob, "SUBSCRIBE b")
    assert room.feed.leave(ann.session) == command("UNSUBSCRIBE a")
    for name in "ab":
        room.pushes(ack("subscribe", name, 1))
    assert room.answers(bob) == [ack("subscribe", "b", 1)]
    assert room.feed.leave(bob.session) == command("UNSUBSCRIBE b")
    assert room.feed.leave(bob.session) == b""
    assert room.feed.is_empty()


def test_a_request_that_the_heart_refused_joins_nothing() -> None:
    room = Room()
    ann = room.client()
    room.asks(ann, "SUBSCRIBE a")
    ann.frame.note.on_refused()
    assert room.feed.cancel(ann.session) == command("UNSUBSCRIBE a")
    assert room.feed.is_empty()
    assert not ann.session.listening
    room.pushes(ack("subscribe", "a", 1))
    assert room.answers() == []


def test_a_request_that_was_refused_before_it_was_told_keeps_no_connection() -> None:
    room = Room()
    ann, bob = room.client(), room.client()
    room.asks(ann, "SUBSCRIBE a")
    first = ann.frame
    assert ann.says("UNSUBSCRIBE") == "listen"  # held behind it
    first.note.on_refused()
    room.feed.cancel(ann.session)
    ann.frame.note.on_refused()
    assert not ann.session.listening
    assert room.feed.is_empty()
    room.asks(bob, "SUBSCRIBE b")
    room.pushes(ack("subscribe", "a", 1))
    room.pushes(ack("unsubscribe", "a", 0))
    room.pushes(ack("subscribe", "b", 1))
    bob.says("UNSUBSCRIBE b")
    last = bob.frame
    assert bob.says("SUBSCRIBE c") == "listen"
    room.feed.on_request(bob.session, last)
    bob.frame.note.on_refused()
    assert room.feed.is_empty()


# -- connections ---------------------------------------------------------------------------------------------


def test_after_a_loss_everything_is_said_again_and_the_gap_is_counted() -> None:
    room = Room()
    ann, bob = room.client(), room.client()
    room.asks(ann, "SUBSCRIBE a")
    assert room.feed.restore() == command("SUBSCRIBE a")
    assert room.feed.gaps == 0  # the first connection: nothing was heard before
    room.asks(ann, "PSUBSCRIBE p*")
    room.pushes(ack("subscribe", "a", 1))
    room.pushes(ack("psubscribe", "p*", 1))
    assert len(room.answers(ann, ann)) == 2
    room.asks(bob, "SUBSCRIBE b")
    again = room.feed.restore()
    assert again == command("SUBSCRIBE a") + command("SUBSCRIBE b") + command("PSUBSCRIBE p*")
    assert room.feed.gaps == 1
    assert room.pushes(message("a", "hi"))[1] == [ann.session]
    room.pushes(ack("subscribe", "a", 1))
    assert room.answers() == []
    room.pushes(ack("subscribe", "b", 2))
    assert room.answers(bob) == [ack("subscribe", "b", 1)]


def test_who_counted_on_a_channel_that_was_lost_waits_for_it() -> None:
    room = Room()
    ann, bob = room.client(), room.client()
    room.asks(ann, "SUBSCRIBE a")
    room.pushes(ack("subscribe", "a", 1))
    room.answers(ann)
    room.asks(bob, "SUBSCRIBE b a")
    room.feed.restore()
    room.pushes(ack("subscribe", "a", 1))
    assert room.answers() == []
    room.pushes(ack("subscribe", "b", 2))
    assert room.answers(bob) == [ack("subscribe", "b", 1) + ack("subscribe", "a", 2)]


def test_who_cannot_be_restored_is_cut_for_it_believes_that_it_listens() -> None:
    room = Room()
    ann = room.client()
    room.asks(ann, "SUBSCRIBE a")
    room.pushes(ack("subscribe", "a", 1))
    room.feed.restore()
    assert room.pushes(NOPERM) == (b"", [ann.session])


def test_the_question_whether_the_server_lives_is_answered_by_a_push_of_no_consequence() -> None:
    room = Room()
    ann = room.client()
    room.asks(ann, "SUBSCRIBE muxproxy-probe")
    room.pushes(ack("subscribe", "muxproxy-probe", 1))
    assert room.feed.probe() == command("UNSUBSCRIBE muxproxy-probe-")
    assert room.pushes(ack("unsubscribe", "muxproxy-probe-", 1)) == (b"", [])
    assert room.pushes(message("muxproxy-probe", "hi"))[1] == [ann.session]


def test_a_shard_channel_that_moves_away_is_told_as_the_server_tells_it() -> None:
    room = Room()
    ann = room.client()
    room.asks(ann, "SSUBSCRIBE s")
    room.pushes(ack("ssubscribe", "s", 1))
    room.answers(ann)
    data = ack("sunsubscribe", "s", 0)
    assert room.pushes(data) == (data, [ann.session])
    assert not ann.session.listening
    assert room.feed.is_empty()
    assert room.asks(ann, "SSUBSCRIBE s") == command("SSUBSCRIBE s")


def test_statistics_are_what_there_is_now_and_what_there_was() -> None:
    room = Room()
    ann, bob = room.client(), room.client()
    room.asks(ann, "SUBSCRIBE a b")
    room.asks(bob, "PSUBSCRIBE a")
    room.asks(bob, "SSUBSCRIBE a")
    room.pushes(message("a", "hi"))
    expected = {"channels": 3, "patterns": 1, "subscribers": 2, "messages": 1, "gaps": 0}
    assert room.feed.statistics() == expected


# -- many names: in turns (P10) ------------------------------------------------------------------------------


NAMES = ("a", "b", "c", "d", "e")


def in_turns(monkeypatch: pytest.MonkeyPatch) -> tuple[Room, Talk]:
    """Two names in each turn; one client that asks for five."""
    monkeypatch.setattr(feed, "NAMES", 2)
    room = Room()
    ann = room.client()
    assert room.asks(ann, "SUBSCRIBE a b c d e") == command("SUBSCRIBE a") + command("SUBSCRIBE b")
    return room, ann


def joined(monkeypatch: pytest.MonkeyPatch) -> tuple[Room, Talk]:
    room, ann = in_turns(monkeypatch)
    while room.feed.more:
        room.feed.go_on()
    for number, name in enumerate(NAMES):
        room.pushes(ack("subscribe", name, number + 1))
    room.answers(ann)
    return room, ann


def test_many_names_are_asked_for_in_turns_and_answered_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    room, ann = in_turns(monkeypatch)
    for number, name in enumerate("ab"):  # sooner than we have asked for the others
        room.pushes(ack("subscribe", name, number + 1))
    assert room.answers() == []
    assert room.feed.go_on() == command("SUBSCRIBE c") + command("SUBSCRIBE d")
    assert room.pushes(message("a", "x"))[1] == []
    assert room.feed.go_on() == command("SUBSCRIBE e")
    assert not room.feed.more
    for number, name in enumerate("cde"):
        assert room.answers() == []
        room.pushes(ack("subscribe", name, number + 3))
    whole = b"".join(ack("subscribe", name, number + 1) for number, name in enumerate(NAMES))
    assert room.answers(ann) == [whole]


@pytest.mark.parametrize("verb", ["UNSUBSCRIBE", "RESET"])
def test_many_channels_are_left_in_turns(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    room, ann = joined(monkeypatch)
    told = room.asks(ann, verb)
    assert room.pushes(message("a", "x"))[1] == []
    assert room.pushes(message("e", "x"))[1] == [ann.session]
    assert room.answers() == []
    while room.feed.more:
        told += room.feed.go_on()
    assert told == b"".join(command(f"UNSUBSCRIBE {name}") for name in NAMES)
    left = b"".join(ack("unsubscribe", name, 4 - number) for number, name in enumerate(NAMES))
    assert room.answers(ann) == [b"+RESET\r\n" if verb == "RESET" else left]
    assert room.feed.is_empty()


def test_who_is_gone_is_taken_off_its_channels_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    room, ann = joined(monkeypatch)
    bob = room.client()
    told = room.asks(ann, "UNSUBSCRIBE") + room.feed.leave(ann.session)
    assert not room.feed.is_empty()
    assert room.asks(bob, "SUBSCRIBE e") == b""
    while room.feed.more:
        told += room.feed.go_on()
    assert told == b"".join(command(f"UNSUBSCRIBE {name}") for name in "abcd")
    assert room.pushes(message("e", "x"))[1] == [bob.session]
    assert room.answers(bob) == [ack("subscribe", "e", 1)]
    room.feed.leave(bob.session)
    assert room.feed.is_empty()


@pytest.mark.parametrize("how", ["leave", "cancel"])
def test_who_goes_while_its_names_are_asked_for_has_asked_for_nothing(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    room, ann = in_turns(monkeypatch)
    told = room.feed.leave(ann.session) if how == "leave" else room.feed.cancel(ann.session)
    for number, name in enumerate("ab"):
        room.pushes(ack("subscribe", name, number + 1))
    while room.feed.more:
        told += room.feed.go_on()
    assert told == command("UNSUBSCRIBE a") + command("UNSUBSCRIBE b")
    assert room.answers() == []
    assert room.feed.is_empty()
