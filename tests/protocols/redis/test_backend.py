"""What sessions and connections of one backend share."""

from __future__ import annotations

from muxproxy.protocols.redis.backend import FIRST_ID, check
from tests.protocols.redis.talk import protocol


def test_an_idle_server_is_asked_in_its_language_and_ids_are_no_servers() -> None:
    redis = protocol()
    assert redis.session(redis.requests()).client_id == FIRST_ID
    assert redis.session(redis.requests()).client_id == FIRST_ID + 1


def test_a_secret_is_checked_without_telling_how_much_of_it_was_right() -> None:
    assert check(b"", b"sec", b"sec") == b""
    assert check(b"default", b"sec", b"sec") == b""
    assert check(b"", b"sex", b"sec").startswith(b"-WRONGPASS ")
    assert check(b"ann", b"sec", b"sec").startswith(b"-WRONGPASS ")
