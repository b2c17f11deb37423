"""CLIENT's subcommands that a session answers itself."""

from __future__ import annotations

import pytest

from muxproxy.protocols.redis.commands.command import CLIENTS_OWN
from tests.protocols.redis.talk import HELLO_REPLY, Talk, command, error, protocol

OK = b"+OK\r\n"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("CLIENT SETNAME abc", OK),
        ("client setname", error("ERR wrong number of arguments for 'client|setname' command")),
        ("CLIENT SETNAME a b", error("ERR wrong number of arguments for 'client|setname' command")),
        ("CLIENT GETNAME x", error("ERR wrong number of arguments for 'client|getname' command")),
        ("CLIENT GETNAME", b"$-1\r\n"),
        ("CLIENT ID x", error("ERR wrong number of arguments for 'client|id' command")),
        ("CLIENT NO-EVICT on", OK),
        ("CLIENT NO-TOUCH OFF", OK),
        ("CLIENT NO-EVICT x", error("ERR syntax error")),
        ("CLIENT NO-EVICT", error("ERR wrong number of arguments for 'client|no-evict' command")),
        ("CLIENT REPLY", error("ERR wrong number of arguments for 'client|reply' command")),
        ("CLIENT REPLY x", error("ERR syntax error")),
        ("CLIENT SETINFO lib-name redis-py", OK),
        ("CLIENT SETINFO LIB-VER 7.1", OK),
        ("CLIENT SETINFO lib-color red", error("ERR Unrecognized option 'lib-color'")),
        ("CLIENT SETINFO lib-name", error("ERR wrong number of arguments for 'client|setinfo' command")),
    ],
)
def test_it_is_answered_as_redis_answers(line: str, answer: bytes) -> None:
    assert Talk().says(line) == answer


@pytest.mark.parametrize("name", [b"a b", b"\x80", b"a\n"])
def test_a_name_is_made_of_visible_ascii(name: bytes) -> None:
    ann = Talk()
    line = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$%d\r\n%b\r\n" % (len(name), name)
    assert ann.says(line) == error("ERR Client names cannot contain spaces, newlines or special characters.")
    line = b"*4\r\n$6\r\nCLIENT\r\n$7\r\nSETINFO\r\n$8\r\nlib-name\r\n$%d\r\n%b\r\n" % (len(name), name)
    assert ann.says(line) == error("ERR lib-name cannot contain spaces, newlines or special characters.")


def test_a_name_lasts_until_it_is_taken_away() -> None:
    ann = Talk()
    ann.says("CLIENT SETNAME abc")
    assert ann.says("CLIENT GETNAME") == b"$3\r\nabc\r\n"
    ann.says("HELLO 3")
    ann.hears(HELLO_REPLY)
    assert ann.says("CLIENT GETNAME") == b"$3\r\nabc\r\n"
    ann.says(b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$0\r\n\r\n")
    assert ann.says("CLIENT GETNAME") == b"_\r\n"
    ann.says("CLIENT SETNAME abc")
    ann.says("RESET")
    assert ann.says("CLIENT GETNAME") == b"$-1\r\n"


def test_every_client_has_an_id_of_its_own() -> None:
    ann = Talk()
    bob = Talk(ann.protocol)
    ids = [ann.says("CLIENT ID"), bob.says("CLIENT ID")]
    assert ids == [b":%d\r\n" % talk.session.client_id for talk in (ann, bob)]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("name", CLIENTS_OWN)
def test_no_transaction_takes_it_to_a_connection_that_is_shared(name: str) -> None:
    """CLIENT REPLY OFF there would silence everybody's (P2)."""
    framer = protocol().requests()
    framer.trusted = True
    sub = name.replace("|", " ")
    frames = framer.feed(command("MULTI") + command(f"{sub} OFF") + command("EXEC"))
    assert len(frames) == 3
