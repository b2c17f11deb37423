"""The generated data: every command once, in a form that the table can read."""

from __future__ import annotations

from muxproxy.protocols.redis.commands.generate import KEPT
from muxproxy.protocols.redis.commands.known import COMMANDS


def test_every_command_stands_once_and_every_container_beside_its_subcommands() -> None:
    names = [name for _, group in COMMANDS for name in group.split()]
    assert len(names) == len(set(names))
    assert {name.partition("|")[0] for name in names} <= set(names)
    assert all(name == name.lower() for name in names)


def test_flags_are_those_that_are_kept() -> None:
    assert {flag for flags, _ in COMMANDS for flag in flags.split()} == set(KEPT)
