"""How long a command may block: read from where its table entry says."""

from __future__ import annotations

from math import inf

import pytest

from muxproxy.protocols.redis.commands.blocking import NEVER, patience
from muxproxy.protocols.redis.commands.command import BLOCKING, Command
from muxproxy.protocols.redis.commands.table import Table


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("BLPOP a b 0", inf),
        ("BLPOP a 0.25", 0.25),
        ("BLPOP a nonsense", 0.0),
        ("BLPOP a -1", 0.0),
        ("BLPOP a nan", 0.0),
        ("BLMPOP 1.5 2 a b LEFT", 1.5),
        ("BLMPOP", 0.0),
        ("BZPOPMIN a 3", 3.0),
        ("XREAD COUNT 1 block 1500 STREAMS s $", 1.5),
        ("XREAD BLOCK 0 STREAMS s $", inf),
        ("XREAD STREAMS BLOCK 1", NEVER),
        ("XREAD COUNT 1", NEVER),
        ("XREADGROUP GROUP g c BLOCK 20 STREAMS s >", 0.02),
        ("XREADGROUP GROUP streams c BLOCK 20 STREAMS s >", 0.02),
        ("xreadgroup group g Streams count 1 block 0 streams s >", inf),
        ("XREADGROUP GROUP BLOCK 7 STREAMS s >", NEVER),
        ("XREADGROUP GROUP g", NEVER),
        ("WAIT 1 500", 0.5),
        ("WAITAOF 1 1 0", inf),
    ],
)
def test_the_time_is_the_commands_own(line: str, seconds: float) -> None:
    words = line.encode().split(b" ")
    assert patience(Table().find(words[0]), words, True) == seconds


def test_what_has_not_come_in_yet_may_be_the_longest_there_is() -> None:
    table = Table()
    assert patience(table.find(b"BLPOP"), [b"BLPOP", b"a"], False) == inf
    assert patience(table.find(b"XREAD"), [b"XREAD", b"COUNT"], False) == inf
    assert patience(table.find(b"XREAD"), [b"XREAD", b"STREAMS", b"a"], False) == NEVER


def test_a_command_that_blocks_in_a_way_that_nobody_knows_may_block_for_ever() -> None:
    assert patience(Command("mod.pop", BLOCKING), [b"MOD.POP", b"1"], True) == inf
