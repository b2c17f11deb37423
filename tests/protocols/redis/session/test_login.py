"""AUTH, HELLO, SELECT, READONLY: what is tried on a server, what is known, what is wrong before that."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import ANYWHERE, Reason
from muxproxy.protocols.redis.session.login import with_id
from muxproxy.protocols.redis.states import Anywhere, Attempt
from tests.protocols.redis.talk import HELLO_REPLY, Talk, command, error, protocol

WRONGPASS = error("WRONGPASS invalid username-password pair or user is disabled.")
OK = b"+OK\r\n"


def attempt(ann: Talk) -> Attempt:
    needs = ann.session.needs
    assert isinstance(needs, Attempt)
    return needs


# -- SELECT --------------------------------------------------------------------------------------------------


def test_a_db_is_tried_once_and_then_known_to_everybody() -> None:
    redis = protocol()
    ann, bob = Talk(redis), Talk(redis)
    base = redis.states.base
    assert ann.says("SELECT 1") == "shared"
    assert attempt(ann).base is base
    assert ann.db() == 0
    assert ann.hears(OK) == OK
    assert (ann.db(), bob.db()) == (1, 0)
    assert ann.connection.state is ann.session.state
    assert bob.says("SELECT 1") == OK
    assert bob.session.state is ann.session.state
    assert bob.says("GET a") == "shared"
    assert bob.session.needs is bob.session.state
    assert bob.says("SELECT 0") == OK
    assert bob.session.state is base


def test_a_client_that_was_told_that_it_failed_is_not_changed_by_a_late_reply() -> None:
    ann = Talk()
    ann.says("SELECT 1")
    ann.protocol.refusal(Reason.REPLY_TIMEOUT, "late", note=ann.frame.note)
    ann.hears(OK)
    assert ann.db() == 0
    assert ann.connection.state is not None
    assert ann.connection.state.db == 1


def test_a_db_that_the_server_refuses_leaves_all_as_it_was() -> None:
    ann = Talk()
    no = error("ERR DB index is out of range")
    ann.says("SELECT 16")
    assert ann.hears(no) == no
    assert ann.db() == 0
    assert ann.connection.state is ann.protocol.states.base
    assert ann.says("SELECT 16") == "shared"  # nothing of it is remembered


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("SELECT", "wrong number of arguments for 'select' command"),
        ("SELECT 1 2", "wrong number of arguments for 'select' command"),
        ("SELECT x", "value is not an integer or out of range"),
        ("SELECT 01", "value is not an integer or out of range"),
        ("SELECT +1", "value is not an integer or out of range"),
        ("SELECT 99999999999999999999", "value is not an integer or out of range"),
        ("SELECT -1", "DB index is out of range"),
        ("READONLY x", "wrong number of arguments for 'readonly' command"),
    ],
)
def test_what_no_server_would_take_is_refused_in_its_words(line: str, text: str) -> None:
    assert Talk().says(line) == error("ERR " + text)


def test_readonly_is_a_state_and_readwrite_its_end() -> None:
    ann = Talk()
    no = error("ERR This instance has cluster support disabled")
    assert ann.says("READWRITE") == "shared"
    assert ann.session.needs is ann.protocol.states.base
    ann.says("READONLY")
    assert ann.hears(no) == no
    ann.says("READONLY")
    assert ann.hears(OK) == OK
    assert ann.session.state.readonly
    assert ann.says("READWRITE") == OK
    assert not ann.session.state.readonly


# -- HELLO ---------------------------------------------------------------------------------------------------


def test_hello_passes_with_the_clients_own_id_and_nothing_else_changed() -> None:
    redis = protocol()
    ann, bob = Talk(redis), Talk(redis)
    assert ann.says("HELLO 3") == "shared"
    assert attempt(ann).target.resp == 3
    reply = ann.hears(HELLO_REPLY)
    assert reply == HELLO_REPLY.replace(b":4\r\n", b":%d\r\n" % ann.session.client_id)
    assert ann.session.state.resp == 3
    bob.says("HELLO 3")
    assert isinstance(bob.session.needs, Anywhere)  # it has worked once: no need to be alone, nor of a db
    assert (bob.session.needs.resp, bob.frame.marks & ANYWHERE) == (3, ANYWHERE)
    assert bob.hears(HELLO_REPLY).count(b":%d\r\n" % bob.session.client_id) == 1
    assert bob.session.state is ann.session.state
    assert ann.session.client_id != bob.session.client_id


def test_hello_to_a_server_that_knows_none_gets_the_servers_own_words() -> None:
    ann = Talk()
    no = error("ERR unknown command 'HELLO', with args beginning with: '3' ")
    ann.says("HELLO 3")
    assert ann.hears(no) == no
    assert ann.session.state.resp == 2
    assert ann.connection.state is ann.protocol.states.base


def test_a_name_in_hello_is_the_sessions_and_stays_here() -> None:
    ann = Talk()
    assert ann.says("HELLO 3 SETNAME ann") == "shared"
    assert ann.frame.data == command("HELLO 3")
    ann.hears(error("NOPERM"))
    assert ann.says("CLIENT GETNAME") == b"$-1\r\n"
    ann.says("hello 3 setname ann")
    ann.hears(HELLO_REPLY)
    assert ann.says("CLIENT GETNAME") == b"$3\r\nann\r\n"
    ann.says("CLIENT SETNAME bob")
    assert ann.says("HELLO") == "shared"
    ann.hears(HELLO_REPLY)
    assert ann.says("CLIENT GETNAME") == b"$3\r\nbob\r\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("HELLO x", "ERR Protocol version is not an integer or out of range"),
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        ("HELLO 3 AUTH a", "ERR Syntax error in HELLO option 'AUTH'"),
        ("HELLO 3 SETNAME", "ERR Syntax error in HELLO option 'SETNAME'"),
        ("HELLO 2 foo", "ERR Syntax error in HELLO option 'foo'"),
        ("HELLO 3 AUTH a b", "WRONGPASS invalid username-password pair or user is disabled."),
    ],
)
def test_a_hello_that_is_wrong_is_refused_in_redis_words(line: str, text: str) -> None:
    assert Talk().says(line) == error(text)


def test_a_name_with_a_blank_is_none() -> None:
    text = "ERR Client names cannot contain spaces, newlines or special characters."
    line = b"*4\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$7\r\nSETNAME\r\n$3\r\na b\r\n"
    assert Talk().says(line) == error(text)


# -- AUTH against client_password ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "line", "answer"),
    [
        ("", "AUTH default x", OK),
        ("", "AUTH ann x", WRONGPASS),
        ("", "AUTH", error("ERR wrong number of arguments for 'auth' command")),
        ("", "AUTH a b c", error("ERR syntax error")),
        ("sec", "AUTH sec", OK),
        ("sec", "AUTH default sec", OK),
        ("sec", "AUTH bad", WRONGPASS),
        ("sec", "AUTH ann sec", WRONGPASS),
    ],
)
def test_auth_against_the_configured_password(password: str, line: str, answer: bytes) -> None:
    assert Talk(client_password=password).says(line) == answer


def test_auth_where_there_is_no_password() -> None:
    text = (
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
    )
    assert Talk().says("AUTH x") == error(text + "configuration is correct?")


def test_hello_with_auth_is_judged_here_and_goes_on_without_it() -> None:
    ann = Talk(client_password="sec")
    noauth = ann.says("HELLO 3")
    assert isinstance(noauth, bytes)
    assert noauth.startswith(b"-NOAUTH HELLO must be called with the client already authenticated, ")
    assert ann.says("HELLO 3 AUTH default bad") == WRONGPASS
    assert ann.says("HELLO 3 AUTH default sec") == "shared"
    assert ann.frame.data == command("HELLO 3")
    assert not ann.session.is_trusted  # a server without HELLO authenticates nobody by it
    ann.hears(HELLO_REPLY)
    assert ann.session.is_trusted


# -- AUTH as oneself -----------------------------------------------------------------------------------------


def test_with_passthrough_the_server_judges_and_each_user_is_a_state() -> None:
    redis = protocol(auth="passthrough")
    ann, bob = Talk(redis), Talk(redis)
    assert ann.says("AUTH ann secret") == "quiet"
    assert attempt(ann).anyone
    assert ann.hears(WRONGPASS) == WRONGPASS
    assert ann.session.state is redis.states.base
    ann.says("AUTH ann secret")
    assert ann.hears(OK) == OK
    assert (ann.session.state.user, ann.session.state.password) == (b"ann", b"secret")
    bob.says("AUTH ann secret")
    assert bob.session.needs is ann.session.state
    bob.says("AUTH ann guess")
    assert isinstance(bob.session.needs, Attempt)


def test_a_password_that_works_no_longer_is_tried_again() -> None:
    ann = Talk(auth="passthrough")
    ann.says("AUTH ann old")
    ann.hears(OK)
    ann.says("AUTH ann old")
    assert ann.hears(WRONGPASS) == WRONGPASS
    ann.says("AUTH ann old")
    assert isinstance(ann.session.needs, Attempt)


def test_with_passthrough_a_stranger_is_known_to_nothing() -> None:
    ann = Talk(auth="passthrough")
    no = error("NOAUTH Authentication required.")
    assert ann.says("SELECT 0") == "shared"
    assert ann.hears(no) == no
    ann.says("SELECT 0")
    ann.hears(OK)
    assert ann.says("SELECT 0") == OK
    assert ann.says("HELLO 2 AUTH ann secret") == "quiet"
    assert ann.frame.data == command("HELLO 2 AUTH ann secret")


def test_where_strangers_may_nothing_they_need_not_ask_a_server() -> None:
    redis = protocol(auth="passthrough")
    redis.needs_auth = True
    ann = Talk(redis)
    no = error("NOAUTH Authentication required.")
    assert [ann.says(line) for line in ("GET a", "CLIENT REPLY OFF", "SUBSCRIBE a")] == [no] * 3
    assert not ann.framer.trusted
    assert ann.says("HELLO 3") == "shared"  # its error is the server's own
    ann.hears(error("NOAUTH HELLO must be called with the client already authenticated"))
    assert ann.says("AUTH ann secret") == "quiet"
    ann.hears(OK)
    assert ann.says("GET a") == "shared"
    assert ann.framer.trusted


def test_who_listens_does_not_become_another() -> None:
    ann = Talk(auth="passthrough")
    ann.says("HELLO 3 AUTH ann secret")
    ann.hears(HELLO_REPLY)
    ann.says("SUBSCRIBE a")
    text = "ERR muxproxy: AUTH while subscribed is not possible, UNSUBSCRIBE first"
    assert ann.says("AUTH bob secret") == error(text)


def test_only_the_id_of_a_hello_reply_is_changed() -> None:
    assert with_id(HELLO_REPLY, 12345) == HELLO_REPLY.replace(b":4\r\n", b":12345\r\n")
    assert with_id(b"+OK\r\n", 5) == b"+OK\r\n"
