"""known.py is made of what servers said, of one or of several.

command_info.resp is what Redis 7.0.15 and Valkey 9.1.2 replied to INFO server (shortened), COMMAND INFO get
xread wait object subscribe client|capa nosuch, and QUIT. The real servers' whole COMMAND is held against
known.py in tests/system/test_redis_commands.py.
"""

from __future__ import annotations

from pathlib import Path

from muxproxy.protocols.redis.commands import generate, known

RECORDED = (Path(__file__).parent / "command_info.resp").read_bytes()
SOURCE = Path(generate.__file__).parent

MADE = """
COMMANDS = (
    ("", "object object|help subscribe"),
    ("blocking connection", "wait"),
    ("blocking readonly", "xread"),
    ("connection", "client|capa"),
    ("readonly", "get object|encoding object|freq object|idletime object|refcount"),
)
"""


def test_a_recorded_answer_gives_the_file_that_is_expected() -> None:
    text = generate.write(*generate.read(RECORDED))
    assert text.startswith('"""Every command that Redis 7.0.15 and Valkey 9.1.2 have, ')
    assert text.endswith(MADE)


def test_the_committed_file_is_what_its_own_commands_give() -> None:
    """So it is neither edited by hand nor left behind by a change of the generator."""
    made = {name: frozenset(flags.split()) for flags, names in known.COMMANDS for name in names.split()}
    committed = (SOURCE / "known.py").read_text()
    assert generate.write(["Redis 7.0.15", "Valkey 9.1.2"], made) == committed


def test_the_committed_file_has_what_was_recorded() -> None:
    _, recorded = generate.read(RECORDED)
    committed = {name: set(flags.split()) for flags, names in known.COMMANDS for name in names.split()}
    assert {name: flags & set(generate.KEPT) for name, flags in recorded.items()} == {
        name: committed[name] for name in recorded
    }


def test_servers_that_disagree_are_merged_to_the_safe_side() -> None:
    merged: generate.Flags = {}
    generate.merge(merged, {"a": frozenset({"readonly"}), "b": frozenset({"readonly"}), "c": frozenset()})
    generate.merge(merged, {"a": frozenset({"blocking"}), "b": frozenset({"readonly"})})
    assert merged == {"a": {"blocking"}, "b": {"readonly"}, "c": frozenset()}


def test_lines_are_wrapped_within_the_houses_width() -> None:
    many = {f"{'x' * 20}-{number}|y": frozenset({"readonly"}) for number in range(50)}
    lines = generate.write(["Redis"], many).splitlines()
    assert max(len(line) for line in lines) <= 110
    assert sum(line.count("|y") for line in lines) == 50
