"""What framers of one backend share: the memos in front of the command table, and their bounds."""

from __future__ import annotations

from muxproxy.protocols.redis.commands.command import UNKNOWN, Command
from muxproxy.protocols.redis.framing.settings import KNOWN_LENGTH, KNOWN_NAMES, Settings


class Counting:
    """A table that counts how often it is asked, and learns."""

    def __init__(self) -> None:
        self.asked = 0
        self.unknown = {b"NEW"}

    def find(self, name: bytes) -> Command:
        self.asked += 1
        return Command("x", UNKNOWN) if name in self.unknown else Command("x")


def test_a_name_is_asked_for_once() -> None:
    table = Counting()
    settings = Settings(table)
    command = settings.find(b"GET")
    assert settings.known == {b"GET": command}
    assert table.asked == 1


def test_a_name_that_the_table_may_still_learn_is_not_remembered() -> None:
    table = Counting()
    settings = Settings(table)
    assert settings.find(b"NEW").kind == UNKNOWN
    table.unknown.clear()
    assert settings.find(b"NEW").kind != UNKNOWN


def test_the_memos_are_bounded() -> None:
    settings = Settings(Counting())
    for number in range(2 * KNOWN_NAMES + 5):
        command = settings.find(b"%d" % number)
        settings.remember(b"%d" % number, (command, 0, 0, 0))
        assert len(settings.known) <= KNOWN_NAMES
        assert len(settings.heads) <= KNOWN_NAMES
    assert settings.find(b"x" * (KNOWN_LENGTH + 1)).kind != UNKNOWN
    assert b"x" * (KNOWN_LENGTH + 1) not in settings.known
