"""What Redis commands are refused by default, by `deny`, or always."""

from __future__ import annotations

import pytest

from muxproxy.config import refusals

NOTHING: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("name", "allow", "deny", "refused"),
    [
        ("get", (), (), False),
        ("get", (), ("get",), True),
        ("debug", (), (), True),
        ("debug|sleep", (), (), True),
        ("debug", ("debug",), (), False),
        ("debug|sleep", ("debug",), (), False),
        ("debug|sleep", ("debug|sleep",), (), False),
        ("debug|jmap", ("debug|sleep",), (), True),
        ("config", (), ("config",), True),
        ("config|get", (), ("config",), True),
        ("config|get", ("config|get",), ("config",), False),
        ("config|set", ("config|get",), ("config",), True),
        ("config", (), ("config|set",), False),
        ("config|set", (), ("config|set",), True),
        ("config|get", (), ("config|set",), False),
        ("client|tracking", (), (), True),
        ("client|tracking", ("client",), (), True),
        ("client|list", (), (), False),
    ],
)
def test_a_subcommands_own_entry_goes_before_its_containers(
    name: str, allow: tuple[str, ...], deny: tuple[str, ...], refused: bool
) -> None:
    assert bool(refusals.why_refused(name, frozenset(allow), frozenset(deny))) is refused


@pytest.mark.parametrize("name", refusals.NEVER)
def test_what_changes_a_shared_connection_cannot_be_allowed(name: str) -> None:
    assert refusals.why_refused(name, frozenset({name}), NOTHING) == refusals.NEVER[name]


def test_allowing_what_nobody_refuses_has_no_effect() -> None:
    assert not refusals.has_effect("get", NOTHING)
    assert refusals.has_effect("shutdown", NOTHING)
    assert refusals.has_effect("config|get", frozenset({"config"}))
