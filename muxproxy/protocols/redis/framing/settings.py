"""What the framers of one backend share: limits, the command table, and a memo in front of it.

The memos hold names, and the bytes before and around them, exactly as clients spell them. They are cleared
when full: a client that invents spellings costs others a look into the table, and no memory (P7). What a name
stands for is the table's and never changes once it is known; what stands around it is in the key
(tests/protocols/test_memos.py: with and without, the same commands).
"""

from __future__ import annotations

from typing import Final
from typing import Protocol as Interface

from muxproxy.protocols.redis.commands.command import UNKNOWN, Command
from muxproxy.protocols.redis.framing.names import Names

# spellings; Redis 7 has 240 commands, and clients write them in upper or lower case
KNOWN_NAMES: Final = 2048
KNOWN_LENGTH: Final = 32  # bytes of a name that is worth remembering; the longest of Redis 7 has 20
HEAD_LENGTH: Final = 64  # room for such a name behind its count and its length

# proto-max-bulk-len of redis.conf, and what Redis answered before 7.0 as its limit of arguments; 7.0 takes
# 2**31-1 of them, whose count alone would be the size of memory that an honest client never needs.
MAX_ARGUMENT: Final = 512 * 1024 * 1024
MAX_ARGUMENTS: Final = 1024 * 1024
SUBSCRIBER_BUFFER: Final = 8 * 1024 * 1024
SUBSCRIBE_BUFFER: Final = 1024 * 1024

# Commands that go as one frame at the most: what waits, is sent and is lost together.
MAX_RUN: Final = 32


# What the beginning of a command says, up to its second word: the command, the marks of its frame, the bytes
# up to the end of its name, and the number of words behind it.
Head = tuple[Command, int, int, int]


class Finder(Interface):
    """The command table, as far as a framer knows it."""

    def find(self, name: bytes) -> Command: ...


class Settings:
    """Of one backend, seen by all its framers."""

    __slots__ = (
        "heads",
        "known",
        "max_argument",
        "max_arguments",
        "max_run",
        "names",
        "remembers",
        "subscribe_buffer",
        "subscriber_buffer",
        "table",
    )

    def __init__(
        self,
        table: Finder,
        *,
        max_arguments: int = MAX_ARGUMENTS,
        max_argument: int = MAX_ARGUMENT,
        subscriber_buffer: int = SUBSCRIBER_BUFFER,
        subscribe_buffer: int = SUBSCRIBE_BUFFER,
        max_run: int = MAX_RUN,
    ) -> None:
        self.max_arguments = max_arguments  # words of one command; a framer's as it begins
        self.max_argument = max_argument  # bytes of one word; likewise
        self.subscriber_buffer = subscriber_buffer  # bytes of one push
        self.subscribe_buffer = subscribe_buffer  # bytes of a SUBSCRIBE that is coming in
        self.max_run = max_run  # commands of one frame
        self.remembers = True  # False: the memos stay empty, and nothing else changes
        self.known: dict[bytes, Command] = {}  # one and the same for good: framers have it
        self.heads: dict[bytes, Head] = {}
        self.names = Names()
        self.set_table(table)

    def set_table(self, table: Finder) -> None:
        self.table = table
        self.known.clear()
        self.heads.clear()
        self.names.clear()

    def find(self, name: bytes) -> Command:
        """The command of this name, for a framer that has looked into `known` in vain."""
        command = self.table.find(name)
        # What the table does not know it may learn: not remembered here.
        if command.kind != UNKNOWN and len(name) <= KNOWN_LENGTH and self.remembers:
            if len(self.known) >= KNOWN_NAMES:
                self.known.clear()
            self.known[name] = command
            self.names.remember(name, command)
        return command

    def remember(self, head: bytes, what: Head) -> None:
        """`head`: the bytes of a command up to the `$` of its second word."""
        if not self.remembers:
            return
        if len(self.heads) >= KNOWN_NAMES:
            self.heads.clear()
        self.heads[head] = what
