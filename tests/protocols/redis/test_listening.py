"""What a client wants to listen to runs ahead of what it listens to, and follows when something fails."""

from __future__ import annotations

from muxproxy.protocols.redis.listening import Listening
from tests.protocols.redis.talk import Talk


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
