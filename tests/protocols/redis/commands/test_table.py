"""The table of commands: what is done about each, as the data, the rules and the live server have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from muxproxy.config.refusals import NEVER
from muxproxy.protocols.contract import ANYWHERE, IDEMPOTENT
from muxproxy.protocols.redis.commands import command as kinds
from muxproxy.protocols.redis.commands import table
from muxproxy.protocols.redis.commands.command import BLOCKING, CONTAINER, REFUSED, SHARED, UNKNOWN, Command
from muxproxy.protocols.redis.commands.known import COMMANDS
from muxproxy.protocols.redis.commands.table import MAX_DENIAL, MAX_LEARNED, MAX_NAME, Table

DATA = {name: set(flags.split()) for flags, names in COMMANDS for name in names.split()}
CATEGORIES = b":1\r\n:1\r\n:1\r\n*1\r\n+@slow\r\n*0\r\n*0\r\n"


def info(*flags: str, name: str = "ft.search", subcommands: bytes = b"*0\r\n") -> bytes:
    """What a server replies to COMMAND INFO for a command of a module."""
    words = b"".join(b"+%b\r\n" % flag.encode() for flag in flags)
    entry = b"*10\r\n$%d\r\n%b\r\n:-1\r\n*%d\r\n" % (len(name), name.encode(), len(flags))
    return b"*1\r\n" + entry + words + CATEGORIES + subcommands


def look(one: Table, name: str) -> Command:
    """As the session does: the second word where the first does not say it all."""
    first, _, second = name.partition("|")
    command = one.find(first.encode())
    return one.find_sub(command, second.encode()) if second and command.kind == CONTAINER else command


@pytest.mark.parametrize("spelling", [b"GET", b"get", b"Get", b"gEt"])
def test_a_command_is_found_however_it_is_spelled(spelling: bytes) -> None:
    one = Table()
    assert one.find(spelling) is one.find(b"GET")
    assert one.find(spelling).name == "get"


KINDS = [
    ("set", SHARED),
    ("info", SHARED),
    ("config|set", SHARED),
    ("flushall", SHARED),
    ("client", CONTAINER),
    ("client|list", SHARED),
    ("blpop", BLOCKING),
    ("wait", BLOCKING),
    ("multi", kinds.MULTI),
    ("exec", kinds.EXEC),
    ("discard", kinds.DISCARD),
    ("watch", kinds.WATCH),
    ("unwatch", kinds.UNWATCH),
    ("auth", kinds.AUTH),
    ("hello", kinds.HELLO),
    ("select", kinds.SELECT),
    ("readonly", kinds.REPLICA),
    ("readwrite", kinds.REPLICA),
    ("ping", kinds.PING),
    ("echo", SHARED),
    ("quit", kinds.QUIT),
    ("reset", kinds.RESET),
    ("ssubscribe", kinds.LISTEN),
    ("punsubscribe", kinds.LISTEN),
    ("publish", SHARED),
    ("pubsub|channels", SHARED),
    ("debug|sleep", REFUSED),
    ("shutdown", REFUSED),
    ("monitor", REFUSED),
    ("client|tracking", REFUSED),
    ("script|debug", REFUSED),
    ("script|load", SHARED),
    ("cluster|syncslots", REFUSED),
    ("cluster|slots", SHARED),
    ("ft.search", UNKNOWN),
    ("client|nosuch", UNKNOWN),
    ("script|nosuch", SHARED),
]


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_every_command_has_its_kind(name: str, kind: int) -> None:
    assert look(Table(), name).kind == kind


def test_what_the_server_flags_as_blocking_is_blocking_and_is_known_where_its_timeout_stands() -> None:
    one = Table()
    blocking = {name for name, flags in DATA.items() if "blocking" in flags}
    assert {command.name for command in one.commands.values() if command.kind == BLOCKING} == blocking
    assert blocking == set(table.BLOCK)
    assert {name: one.find(name.encode()).block for name in blocking} == table.BLOCK


def test_every_command_about_its_connection_has_been_decided_on() -> None:
    """What a newer server adds to @connection must be given a kind, refused or called harmless."""
    about = {name for name, flags in DATA.items() if "connection" in flags and not name.startswith("client|")}
    assert about - set(table.KINDS) - set(NEVER) - set(table.BLOCK) == table.HARMLESS


def test_commands_that_may_be_sent_twice_are_read_only_and_neither_block_nor_run_scripts() -> None:
    one = Table()
    twice = {command.name for command in one.commands.values() if command.marks & IDEMPOTENT}
    assert {"get", "mget", "scan", "object", "xinfo"} <= twice
    for name in twice - {"object", "xinfo"}:
        assert "readonly" in DATA[name], name
    assert not twice & {"xread", "eval_ro", "fcall_ro", "evalsha_ro", "memory", "set", "getdel", "ping"}
    assert look(one, "client|list").marks == 0


def test_rules_of_allow_and_deny_hold_for_any_spelling() -> None:
    one = Table(
        allow=["DEBUG|sleep", "shutdown", "Config|Get"], deny=["CONFIG", "flushall", "ft.drop", "acl|Setuser"]
    )
    kinds = {
        "debug|sleep": SHARED,
        "debug|jmap": REFUSED,
        "debug|nosuch": REFUSED,
        "shutdown": SHARED,
        "config|get": SHARED,
        "config|set": REFUSED,
        "config|nosuch": REFUSED,
        "flushall": REFUSED,
        "flushdb": SHARED,
        "ft.drop": REFUSED,
        "ft.search": UNKNOWN,
        "acl|setuser": REFUSED,
        "acl|whoami": SHARED,
    }
    assert {name: look(one, name).kind for name in kinds} == kinds
    assert look(one, "config|SET").why == "is denied by [redis] deny"
    assert one.find(b"FLUSHALL").why == "is denied by [redis] deny"
    assert look(one, "debug|jmap").why == "can stop or crash the server for every client"


def test_client_may_be_denied_as_a_whole_or_but_for_some() -> None:
    assert Table(deny=["client"]).find(b"CLIENT").kind == REFUSED
    one = Table(deny=["client"], allow=["client|id"])
    kinds = {
        "client|id": SHARED,
        "client|list": REFUSED,
        "client|nosuch": REFUSED,
        "client|tracking": REFUSED,
    }
    assert {name: look(one, name).kind for name in kinds} == kinds


def test_a_subcommand_of_a_module_may_be_denied_and_its_siblings_are_asked_about() -> None:
    one = Table(deny=["json.debug|memory"])
    assert look(one, "json.debug|memory").kind == REFUSED
    sibling = look(one, "json.debug|help")
    assert (sibling.kind, sibling.name) == (UNKNOWN, "json.debug|help")
    one.learn(sibling.name, info("readonly", name="json.debug|help"))
    assert look(one, "json.debug|HELP") is sibling
    assert (sibling.kind, look(one, "json.debug|memory").kind) == (SHARED, REFUSED)


def test_allowing_what_nobody_knows_does_not_make_it_known() -> None:
    assert Table(allow=["ft.search", "ft.config|get"]).find(b"ft.search").kind == UNKNOWN
    assert Table(allow=["ft.search", "ft.config|get"]).find(b"ft.config").kind == UNKNOWN


SUBCOMMANDS = b"*1\r\n" + info("blocking", name="ft.x|wait")[4:]
LEARNED = [
    (info("readonly", "module"), SHARED, IDEMPOTENT),
    (info("write", "denyoom"), SHARED, 0),
    (info("write", "blocking"), BLOCKING, 0),
    (info("readonly", "blocking"), BLOCKING, 0),
    (info("readonly", subcommands=SUBCOMMANDS), BLOCKING, 0),
    (info("pubsub"), UNKNOWN, 0),
    (info("fast").replace(b"@slow", b"@connection"), UNKNOWN, 0),
    (b"*1\r\n$-1\r\n", UNKNOWN, 0),
    (b"*1\r\n*-1\r\n", UNKNOWN, 0),
    (b"*1\r\n_\r\n", UNKNOWN, 0),
    (b"-NOPERM this user has no permissions\r\n", UNKNOWN, 0),
    (b"*1\r\n", UNKNOWN, 0),
    (None, UNKNOWN, 0),
]


@pytest.mark.parametrize(("reply", "kind", "marks"), LEARNED)
def test_what_the_table_does_not_know_follows_the_live_server_which_is_asked_once(
    reply: bytes | None, kind: int, marks: int
) -> None:
    one = Table()
    command = one.find(b"FT.Search")
    assert (command.kind, command.name, one.is_asked(command.name)) == (UNKNOWN, "ft.search", False)
    one.learn(command.name, reply)
    assert (command.kind, command.marks, command.block) == (kind, marks, "")
    assert one.find(b"ft.SEARCH") is command
    assert one.is_asked(command.name)


def test_a_second_answer_to_the_same_question_changes_nothing() -> None:
    one = Table()
    command = one.find(b"ft.search")
    one.learn(command.name, info("readonly"))
    one.learn(command.name, None)
    assert (one.find(b"ft.search"), command.kind) == (command, SHARED)


def test_a_name_that_is_too_long_is_nobodys_and_is_not_asked_about() -> None:
    one = Table()
    long = one.find(b"x" * (table.MAX_NAME + 1))
    assert (long.kind, one.is_asked(long.name)) == (UNKNOWN, True)
    assert one.find(b"y" * (table.MAX_NAME + 1)) is long
    assert one.find(b"x" * table.MAX_NAME) is not long


def test_names_that_a_client_makes_up_give_way_to_others_and_not_what_was_learned() -> None:
    one = Table()
    known = one.find(b"ft.search")
    one.learn(known.name, info("readonly"))
    stranger = one.find(b"nosuch")
    one.learn(stranger.name, b"*1\r\n$-1\r\n")
    for number in range(table.MAX_LEARNED):
        one.find(b"made-up-%d" % number)
        one.learn(f"made-up-{number}", None)
    assert one.find(b"ft.search") is known
    assert one.find(b"nosuch") is not stranger
    assert not one.is_asked("nosuch")
    assert len(one._strangers) == table.MAX_LEARNED
    assert len(one._asked) <= table.MAX_LEARNED


def test_what_was_pushed_out_while_the_server_was_asked_is_learned_all_the_same() -> None:
    one = Table()
    one.learn("ft.search", info("write"))
    assert one.find(b"FT.SEARCH").kind == SHARED


def test_a_server_with_more_commands_than_can_be_kept_has_the_others_pinned() -> None:
    one = Table()
    for number in range(table.MAX_LEARNED + 1):
        one.learn(one.find(b"m.%d" % number).name, info("readonly", name=f"m.{number}"))
    assert one.find(b"m.%d" % (table.MAX_LEARNED - 1)).kind == SHARED
    assert one.find(b"m.%d" % table.MAX_LEARNED).kind == UNKNOWN
    assert one.is_asked(f"m.{table.MAX_LEARNED}")


def test_any_bytes_are_a_name() -> None:
    one = Table()
    command = one.find(b"\xff\r\n\x00")
    assert command.kind == UNKNOWN
    assert command.name.encode("latin-1") == b"\xff\r\n\x00"


def test_the_recorded_answer_of_a_real_server_teaches_a_table() -> None:
    one = Table()
    recorded = (Path(__file__).parent / "command_info.resp").read_bytes()
    start = recorded.index(b"*10\r\n$3\r\nget")
    one.learn("fresh", b"*1\r\n" + recorded[start : recorded.index(b"*10\r\n$5\r\nxread")])
    assert one.find(b"fresh").marks == IDEMPOTENT


def test_what_a_server_says_to_what_it_does_not_know_is_kept_within_bounds() -> None:
    table = Table()
    for number in range(MAX_LEARNED + 1):
        table.deny(b"word%d" % number, b"-ERR unknown subcommand 'word%d'\r\n" % number)
    assert table.denial(b"word0") == b""
    assert table.denial(b"Word1") == b"-ERR unknown subcommand 'Word1'\r\n"
    table.deny(b"x" * (MAX_NAME + 1), b"-ERR unknown subcommand\r\n")
    table.deny(b"large", b"-ERR unknown subcommand " + b"x" * MAX_DENIAL)
    assert [table.denial(word) for word in (b"x" * (MAX_NAME + 1), b"large")] == [b"", b""]
    table.forget_denials()
    assert table.denial(b"word1") == b""


@pytest.mark.parametrize("name", sorted(table.EVERYWHERE))
def test_what_means_the_same_in_every_db_is_marked_so(name: str) -> None:
    assert name in DATA
    assert look(Table(), name).marks & ANYWHERE
    assert not DATA[name] & {"readonly", "blocking"}  # no keys, for those that have them and only read


def test_nothing_else_is() -> None:
    one = Table()
    found = {command.name for command in one.commands.values() if command.marks & ANYWHERE}
    assert found == {name for name in table.EVERYWHERE if "|" not in name}
