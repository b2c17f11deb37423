"""What a client wants to listen to runs ahead of what it listens to, and follows when something fails."""

from __future__ import annotations

from muxproxy.protocols.contract import FIRST, LAST, PUSH, Frame, Reason
from muxproxy.protocols.redis.pubsub.listening import EACH, Listening
from tests.protocols.redis.talk import Talk, error


def listening(ann: Talk) -> Listening:
    assert ann.session.subscriptions is not None
    return ann.session.subscriptions


def names(of: tuple[dict[bytes, None], ...]) -> list[list[bytes]]:
    return [list(each) for each in of]


def test_what_is_wanted_is_known_before_any_server_answers() -> None:
    ann = Talk()
    for line in ("SUBSCRIBE a b", "PSUBSCRIBE p*", "SSUBSCRIBE s", "UNSUBSCRIBE a z"):
        assert ann.says(line) == "listen"
    assert names(listening(ann).wanted) == [[b"b"], [b"p*"], [b"s"]]
    assert names(listening(ann).joined) == [[], [], []]
    ann.says("PUNSUBSCRIBE")
    assert names(listening(ann).wanted) == [[b"b"], [], [b"s"]]
    ann.says("RESET")
    assert not listening(ann).wants()
    assert listening(ann).expects()  # its answers


def test_a_request_that_never_reached_the_feed_is_taken_back() -> None:
    ann = Talk()
    ann.says("SUBSCRIBE a")
    first = ann.frame.note
    ann.says("PSUBSCRIBE p")
    ann.frame.note.on_refused()
    assert ann.session.listening
    first.on_refused()
    assert not ann.session.listening
    assert names(listening(ann).wanted) == [[], [], []]


def test_what_one_client_listens_to_is_bounded_by_its_names_and_their_number() -> None:
    ann = Talk(channels_buffer=4 * (EACH + 1))
    assert ann.says("SUBSCRIBE a b c") == "listen"
    assert ann.says("SUBSCRIBE a b c d") == "listen"  # three of them again
    assert ann.says("PSUBSCRIBE e") == error(
        f"ERR muxproxy: what it listens to, names and 512 bytes each, is more than channels_buffer, "
        f"{4 * (EACH + 1)} bytes"
    )
    assert ann.frame.note is Reason.SESSION_FULL
    assert listening(ann).size == 4 * (EACH + 1)
    ann.says("UNSUBSCRIBE a a z")
    assert ann.says("PSUBSCRIBE e") == "listen"
    for line in ("UNSUBSCRIBE", "PUNSUBSCRIBE"):
        ann.says(line)
    assert listening(ann).size == 0
    assert ann.says("SUBSCRIBE " + "x" * 3000).startswith(b"-ERR muxproxy: what it listens to")


def test_a_command_of_more_names_than_there_is_room_for_is_refused_before_they_are_looked_at() -> None:
    ann = Talk(channels_buffer=2001 * EACH)
    for verb in ("SUBSCRIBE", "UNSUBSCRIBE"):
        told = ann.says(f"{verb} " + " ".join("a" * 2002))
        assert told.startswith(b"-ERR muxproxy: %b of more names than channels_buffer" % verb.encode())
        assert ann.frame.note is Reason.SESSION_FULL
    assert ann.says("SUBSCRIBE " + " ".join("a" * 2000)) == "listen"
    few = Talk(channels_buffer=2 * EACH)
    assert few.says("UNSUBSCRIBE " + " ".join("a" * 1024)).count(b"unsubscribe") == 1024


class Uncompared(dict[bytes, None]):
    def __eq__(self, other: object) -> bool:
        raise AssertionError("all of what a client listens to was compared")

    __ne__ = __eq__
    __hash__ = None


def test_a_request_that_succeeds_is_no_more_work_for_who_listens_to_much() -> None:
    """P10: a client of 30,000 channels that sends UNSUBSCRIBE of others, again and again."""
    ann = Talk()
    feed = ann.protocol.feed()
    assert ann.says("SUBSCRIBE a b") == "listen"
    listening(ann).wanted = (Uncompared(listening(ann).wanted[0]), Uncompared(), Uncompared())
    feed.on_request(ann.session, ann.frame)
    for name in (b"a", b"b"):
        data = b"*3\r\n$9\r\nsubscribe\r\n$1\r\n%b\r\n:1\r\n" % name
        feed.on_push(Frame(data, FIRST | LAST | PUSH))
    for line in ("UNSUBSCRIBE x", "UNSUBSCRIBE a", "SUBSCRIBE b", "UNSUBSCRIBE"):
        assert ann.says(line) == "listen"
        feed.on_request(ann.session, ann.frame)
    assert [reply.count(b"subscribe") for _, reply in feed.take()] == [2, 1, 1, 1, 1]
