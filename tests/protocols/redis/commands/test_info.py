"""Entries of COMMAND and COMMAND INFO, as servers of all ages give them."""

from __future__ import annotations

import pytest

from muxproxy.protocols.redis.commands.info import flags
from muxproxy.protocols.redis.resp.values import Value, parse

# Redis 7.0.15 to COMMAND INFO blpop nosuch, in RESP3.
RESP3 = (
    b"*2\r\n*10\r\n$5\r\nblpop\r\n:-3\r\n~3\r\n+write\r\n+noscript\r\n+blocking\r\n:1\r\n:-2\r\n:1\r\n"
    b"~4\r\n+@write\r\n+@list\r\n+@slow\r\n+@blocking\r\n~0\r\n~1\r\n%3\r\n$5\r\nflags\r\n~3\r\n+RW\r\n"
    b"+access\r\n+delete\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n"
    b"$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n"
    b"$7\r\nlastkey\r\n:-2\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n~0\r\n_\r\n"
)


def test_sets_and_maps_of_resp3_are_read_as_lists_of_resp2() -> None:
    entries, end = parse(RESP3)
    assert end == len(RESP3)
    assert isinstance(entries, list)
    assert flags(entries) == {"blpop": frozenset({"write", "noscript", "blocking"})}


def test_subcommands_are_commands_and_the_connections_category_is_a_flag() -> None:
    sub: list[Value] = [b"client|ID", 2, [b"noscript"], 0, 0, 0, [b"@slow", b"@connection"], [], [], []]
    container: list[Value] = [b"CLIENT", -2, [], 0, 0, 0, [b"@slow"], [], [], [sub, None]]
    assert flags([container]) == {
        "client": frozenset(),
        "client|id": frozenset({"noscript", "connection"}),
    }


def test_servers_before_6_have_no_categories() -> None:
    assert flags([[b"get", 2, [b"readonly", b"fast"], 1, 1, 1]]) == {"get": frozenset({"readonly", "fast"})}


def test_what_the_server_does_not_know_is_left_out() -> None:
    assert flags([None, []]) == {}


@pytest.mark.parametrize("entry", [[5], [b"get", 2, [5]]])
def test_an_entry_that_is_none_is_refused(entry: list[Value]) -> None:
    with pytest.raises(ValueError, match="a word was expected"):
        flags([entry])
