"""What a request tells the framer of its reply: only what a caller could get wrong."""

from __future__ import annotations

from muxproxy.protocols.redis.commands.command import MULTI, WHOLE, Command
from muxproxy.protocols.redis.framing.note import Note, Whole


def test_a_note_owes_its_client_as_many_replies_as_come_unless_some_are_ours() -> None:
    multi = Command("multi", MULTI)
    assert (Note(multi, 3).owed, Note(multi, 2, owed=1).owed, Note(multi).owed) == (3, 1, 1)
    assert Whole(multi, 2, mute=True).mute


def test_one_question_tells_a_transaction_in_one_frame_from_all_commands() -> None:
    assert Note(Command("multi", MULTI), 3).kind == WHOLE
    assert Command("get").kind != WHOLE
