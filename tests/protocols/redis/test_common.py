"""What the files share: only what a caller could get wrong."""

from __future__ import annotations

from muxproxy.protocols.contract import IDEMPOTENT
from muxproxy.protocols.redis.common import MULTI, WHOLE, Command, Note, State, Whole


def test_a_note_owes_its_client_as_many_replies_as_come_unless_some_are_ours() -> None:
    multi = Command("multi", MULTI)
    assert (Note(multi, 3).owed, Note(multi, 2, owed=1).owed, Note(multi).owed) == (3, 1, 1)
    assert Whole(multi, 2, mute=True).mute


def test_one_question_tells_a_transaction_in_one_frame_from_all_commands() -> None:
    assert Note(Command("multi", MULTI), 3).kind == WHOLE
    assert Command("get").kind != WHOLE


def test_only_readers_may_be_sent_twice() -> None:
    assert Command("get", is_readonly=True).marks == IDEMPOTENT
    assert Command("set").marks == 0


def test_a_states_key_is_all_of_it() -> None:
    state = State(b"u", b"p", 1, 3, True)
    assert State(*state.key).key == state.key == (b"u", b"p", 1, 3, True)
