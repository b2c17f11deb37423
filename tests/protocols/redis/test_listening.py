"""What a client wants to listen to runs ahead of what it listens to, and follows when something fails."""

from __future__ import annotations

from muxproxy.protocols.contract import Reason
from muxproxy.protocols.redis.listening import EACH, Listening
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
