"""The table of short names says what the dictionary does, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.protocols.redis.commands.command import Command
from muxproxy.protocols.redis.commands.known import COMMANDS
from muxproxy.protocols.redis.framing.names import LONGEST, PLACES, Names

NAMES = st.one_of(
    st.binary(max_size=LONGEST + 2),
    st.text("GET\0\xff", max_size=LONGEST + 1).map(lambda name: name.encode("latin-1")),
)


@given(st.lists(NAMES, max_size=40), st.lists(NAMES, max_size=20), st.binary(max_size=3))
def test_what_is_found_was_remembered_under_this_very_name(
    remembered: list[bytes], asked: list[bytes], around: bytes
) -> None:
    names, known = Names(), {}
    for name in remembered:
        known[name] = Command(name.decode("latin-1"))
        names.remember(name, known[name])
        assert len(name) > LONGEST or names.find(name, 0, len(name)) is known[name]
    for name in [*remembered, *asked]:
        data = around + name + around
        found = names.find(data, len(around), len(around) + len(name))
        assert found is None or found is known[name]


def test_no_number_stands_for_two_names() -> None:
    names = Names()
    names.remember(b"GET", Command("get"))
    for other in (b"", b"\0GET", b"GET\0", b"GE", b"TGE", b"\x03GET", b"\x03\0GET"):
        assert names.find(other, 0, len(other)) is None


def test_it_holds_so_many_whatever_clients_invent_and_nothing_once_the_table_is_another() -> None:
    names = Names()
    for number in range(4 * PLACES):
        names.remember(b"n%d" % number, Command("n"))
    assert len(names._places) == PLACES
    names.clear()
    assert all(names.find(b"n%d" % number, 0, len(b"n%d" % number)) is None for number in range(4 * PLACES))


@pytest.mark.parametrize("upper", [True, False])
def test_what_clients_ask_most_has_a_place_of_its_own(upper: bool) -> None:
    usual = "get set del mget mset incr decr hget hset hgetall hmget expire ttl exists lpush rpush lpop rpop"
    usual += " lrange sadd srem zadd zrem zrange setex setnx ping"
    assert set(usual.split()) <= {name for _, names in COMMANDS for name in names.split()}
    names = Names()
    asked = [(name.upper() if upper else name).encode() for name in usual.split()]
    for name in asked:
        names.remember(name, Command(name.decode()))
    assert all(names.find(name, 0, len(name)) is not None for name in asked)
