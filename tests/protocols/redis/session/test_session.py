"""What a session makes of each command: one client's conversations, mode by mode."""

from __future__ import annotations

from math import inf

import pytest

from muxproxy.protocols.contract import ANSWER, ANYWHERE, LAST, Reason
from muxproxy.protocols.redis.states import Attempt
from tests.protocols.redis.talk import HELLO_REPLY, Talk, command, connection, error

ABORT = error("EXECABORT Transaction discarded because of previous errors.")
NOT_HERE = (
    "Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this "
    "context"
)


def not_here(name: str) -> bytes:
    return error("ERR " + NOT_HERE.format(name))


def ask_in_multi(name: str) -> bytes:
    return error(f"ERR muxproxy: {name} is not possible inside of MULTI, send it before")


def test_what_touches_no_state_passes_as_the_frame_that_it_is() -> None:
    ann = Talk()
    for line in ("GET a", "SET a b", "PING", "INFO", "EXEC", "CLIENT LIST", "CLIENT", "READWRITE"):
        (frame,) = ann.framer.feed(command(line))
        assert ann.session.on_request(frame) is frame
        assert ann.session.needs is ann.protocol.states.base


def test_quit_is_answered_and_ends_the_connection() -> None:
    assert Talk().says("QUIT now") == b"+OK\r\n end"


# -- transactions --------------------------------------------------------------------------------------------


def test_a_transaction_in_one_piece_needs_no_connection_of_its_own() -> None:
    ann = Talk()
    assert ann.says(command("MULTI") + command("GET a") + command("EXEC")) == "shared"
    assert ann.frame.note.replies == 3


def test_one_in_pieces_has_a_connection_from_multi_to_exec() -> None:
    ann = Talk()
    said = [ann.says(line) for line in ("MULTI", "GET a", "MULTI", "WATCH a", "BLPOP a 0", "EXEC", "GET a")]
    assert said == ["pin", "pin", "pin", "pin", "pin", "pin unpin", "shared"]
    assert ann.session.pin_reason == "multi"
    assert [ann.says(line) for line in ("MULTI", "DISCARD", "GET a")] == ["pin", "pin unpin", "shared"]


def test_multi_and_discard_with_an_argument_are_the_servers_to_refuse_and_exec_ends_it_all_the_same() -> None:
    ann = Talk()
    assert [ann.says(line) for line in ("MULTI x", "GET a")] == ["shared", "shared"]
    said = [ann.says(line) for line in ("MULTI", "DISCARD x", "GET a", "EXEC x", "GET a")]
    assert said == ["pin", "pin", "pin", "pin unpin", "shared"]


def test_a_watch_has_a_connection_until_what_ends_it() -> None:
    ann = Talk()
    for end in ("UNWATCH", command("MULTI") + command("GET a") + command("EXEC")):
        assert [ann.says(line) for line in ("WATCH a", "GET a", end)] == ["pin", "pin", "pin unpin"]
        assert ann.session.pin_reason == "watch"
        assert ann.says("GET a") == "shared"
    said = [ann.says(line) for line in ("WATCH a", "WATCH b", "MULTI", "EXEC", "GET a")]
    assert said == ["pin", "pin", "pin", "pin unpin", "shared"]
    assert [ann.says(line) for line in ("WATCH", "UNWATCH", "GET a")] == ["shared"] * 3


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("CLIENT SETNAME x", ask_in_multi("CLIENT SETNAME")),
        ("SUBSCRIBE a", ask_in_multi("SUBSCRIBE")),
        ("HELLO 3", ask_in_multi("HELLO")),
        ("AUTH a b", ask_in_multi("AUTH")),
        ("RESET x", error("ERR wrong number of arguments for 'reset' command")),
        ("SYNC", error("NOPERM muxproxy: 'sync' turns its connection into a replication link")),
    ],
)
def test_what_only_we_can_answer_aborts_a_transaction(line: str, answer: bytes) -> None:
    ann = Talk()
    ann.says("MULTI")
    assert ann.says(line) == answer
    assert ann.says("EXEC") == "pin unpin"
    assert ann.frame.data == command("DISCARD")
    assert ann.hears(b"+OK\r\n") == ABORT
    assert [ann.says(line) for line in ("MULTI", "EXEC")] == ["pin", "pin unpin"]
    assert ann.frame.data == command("EXEC")


def test_a_state_that_exec_leaves_behind_keeps_the_connection_until_the_end() -> None:
    ann = Talk()
    ann.says("SELECT 0")
    said = [
        ann.says(line) for line in ("MULTI", "SELECT 2", "EXEC", "GET a", "SELECT 0", "WATCH a", "UNWATCH")
    ]
    assert said == ["pin", "pin", "pin", "pin", "pin", "pin", "pin"]
    assert ann.session.pin_reason == "state in transaction"
    assert ann.says(command("MULTI") + command("GET a") + command("EXEC")) == "pin"
    assert ann.says("RESET") == b"+RESET\r\n unpin"
    assert ann.says("GET a") == "shared"


def test_reset_gives_a_transactions_connection_back() -> None:
    ann = Talk()
    ann.says("MULTI")
    assert ann.says("RESET") == b"+RESET\r\n unpin"
    assert ann.says("RESET") == b"+RESET\r\n"
    assert ann.says("GET a") == "shared"


# -- blocking and unknown commands ---------------------------------------------------------------------------


def test_what_blocks_has_a_connection_for_once_and_time_as_it_asks() -> None:
    ann = Talk()
    assert ann.says("BLPOP a 0") == "pin unpin"
    assert (ann.session.pin_reason, ann.session.patience) == ("blocking", inf)
    assert ann.says("BLPOP a 2.5") == "pin unpin"
    assert ann.session.patience == 2.5
    assert ann.says("XREAD STREAMS s 0") == "shared"
    assert ann.says("GET a") == "shared"
    assert [ann.says(line) for line in ("WATCH a", "BLPOP a 1", "UNWATCH")] == ["pin", "pin", "pin unpin"]


def test_wait_waits_for_all_writes_and_not_for_its_own_connections() -> None:
    ann = Talk()
    assert ann.says("WAIT 1 500") == "pin unpin"
    assert ann.session.patience == 0.5
    assert ann.frame.data == command("PING") + command("WAIT 1 500")
    assert ann.hears(b"+PONG\r\n", b":1\r\n") == b":1\r\n"
    assert ann.frame.note.owed == 1


def test_what_means_the_same_in_every_db_and_version_is_marked_so_one_by_one() -> None:
    ann = Talk()
    ann.says("HELLO 3")
    ann.hears(HELLO_REPLY)
    for line in ("PING", "PING x", "ECHO x", "TIME", "LASTSAVE", "PUBLISH c x", "SCRIPT EXISTS x", "UNWATCH"):
        assert ann.says(line) == "shared"
        assert ann.frame.marks & ANYWHERE, line
        assert ann.session.needs is ann.session.state, line  # and what follows at once needs the same
    for line in ("GET a", "DBSIZE", "FUNCTION LIST", "COMMAND COUNT", "EVAL x 0", "PUBSUB NUMPAT"):
        ann.says(line)
        assert not ann.frame.marks & ANYWHERE, line
    for line, resp in (
        ("SCRIPT KILL", 0),
        ("FUNCTION KILL", 0),
        ("CLIENT UNPAUSE", 0),
        ("FUNCTION STATS", 3),
    ):
        ann.says(line)
        assert ann.frame.marks & ANYWHERE, line
        assert (ann.session.needs.user, ann.session.needs.resp) == (b"", resp)


def test_a_subcommand_that_the_server_does_not_know_is_asked_about_once_and_takes_no_place() -> None:
    ann = Talk()
    no = b"-ERR unknown subcommand 'Foo'. Try CLIENT HELP.\r\n"
    assert ann.says("CLIENT Foo x") == "quiet"
    assert ann.frame.data == command("COMMAND INFO client|foo") + command("CLIENT Foo x")
    assert isinstance(ann.session.needs, Attempt)  # nothing before it and nothing behind
    assert ann.hears(b"*1\r\n$-1\r\n", no) == no
    assert not ann.connection.spoilt
    for bob in (Talk(ann.protocol), ann):
        assert bob.says("CLIENT Foo y z") == no
        assert bob.says("client FOO") == b"-ERR unknown subcommand 'FOO'. Try CLIENT HELP.\r\n"
    connection(ann.protocol).greeting()  # of another server, perhaps
    assert ann.says("CLIENT Foo x") == "quiet"


def test_one_that_the_server_knows_costs_its_connection_and_is_alone_the_next_time() -> None:
    ann = Talk()
    ann.says("CLIENT FOO ON")
    info = (
        b"*1\r\n*7\r\n$10\r\nclient|foo\r\n:-2\r\n*1\r\n+loading\r\n:0\r\n:0\r\n:0\r\n*1\r\n+@connection\r\n"
    )
    assert ann.hears(info, b"+OK\r\n") == b"+OK\r\n"
    assert ann.connection.spoilt == "unknown command"
    assert ann.says("CLIENT FOO ON") == "pin unpin"


def test_one_that_is_asked_while_the_server_is_busy_is_asked_again() -> None:
    ann = Talk()
    busy = b"-BUSY Redis is busy running a script.\r\n"
    ann.says("CLIENT FOO")
    assert ann.hears(busy, busy) == busy
    assert not ann.connection.spoilt
    assert ann.says("CLIENT FOO") == "quiet"


def test_an_unknown_command_is_asked_about_once_and_has_a_connection_alone() -> None:
    ann = Talk()
    assert ann.says("FT.SEARCH a") == "pin unpin"
    assert ann.session.pin_reason == "unknown command"
    assert ann.frame.data == command("COMMAND INFO ft.search") + command("FT.SEARCH a")
    assert ann.hears(b"*1\r\n$-1\r\n", b"-ERR unknown\r\n") == b"-ERR unknown\r\n"
    assert ann.connection.dirty
    assert ann.says("FT.SEARCH a") == "pin unpin"
    assert ann.frame.data == command("FT.SEARCH a")
    assert [ann.says(line) for line in ("MULTI", "OTHER", "EXEC")] == ["pin", "pin", "pin unpin"]


def test_what_the_server_knows_of_a_module_is_shared_from_then_on() -> None:
    ann = Talk()
    ann.says("JSON.GET a")
    entry = b"*1\r\n*6\r\n$8\r\njson.get\r\n:-2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n"
    assert ann.hears(entry, b"$-1\r\n") == b"$-1\r\n"
    assert ann.says("JSON.GET a") == "shared"


def test_noauth_says_nothing_about_a_command() -> None:
    ann = Talk()
    ann.says("JSON.GET a")
    ann.hears(b"-NOAUTH Authentication required.\r\n", b"-NOAUTH Authentication required.\r\n")
    ann.says("JSON.GET a")
    assert ann.frame.data == command("COMMAND INFO json.get") + command("JSON.GET a")


def test_what_is_denied_is_refused_in_redis_own_form() -> None:
    ann = Talk(deny=("config|set", "flushall"))
    assert ann.says("CONFIG SET a b") == error("NOPERM muxproxy: 'config set' is denied by [redis] deny")
    assert ann.frame.note is Reason.DENIED
    assert ann.says("flushall") == error("NOPERM muxproxy: 'flushall' is denied by [redis] deny")
    assert ann.says("CONFIG GET a") == "shared"


# -- before AUTH, and subscribed in RESP2 --------------------------------------------------------------------

NOAUTH = error("NOAUTH Authentication required.")


def test_without_its_password_a_client_can_only_authenticate_reset_and_quit() -> None:
    ann = Talk(client_password="sec")
    for line in ("GET a", "MULTI", "DISCARD", "SUBSCRIBE a", "CLIENT REPLY OFF", "SYNC"):
        assert ann.says(line) == NOAUTH
    abort = error("EXECABORT Transaction discarded because of: NOAUTH Authentication required.")
    assert ann.says("EXEC") == abort
    assert ann.says("RESET") == b"+RESET\r\n"
    assert not ann.framer.trusted
    assert ann.says("AUTH sec") == b"+OK\r\n"
    assert ann.framer.trusted
    assert ann.says("GET a") == "shared"
    ann.says("RESET")
    assert ann.says("GET a") == NOAUTH
    assert not ann.framer.trusted


def test_a_subscriber_of_resp2_may_do_little_else() -> None:
    ann = Talk()
    assert ann.says("SUBSCRIBE a") == "listen"
    for line, name in (("get x", "get"), ("client id", "client|id"), ("CONFIG GET x", "config|get")):
        assert ann.says(line) == not_here(name)
    assert ann.says("EXEC") == error("EXECABORT Transaction discarded because of: " + NOT_HERE.format("exec"))
    assert ann.says("PING") == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    assert ann.says("PING x") == b"*2\r\n$4\r\npong\r\n$1\r\nx\r\n"
    assert ann.says("PING x y") == error("ERR wrong number of arguments for 'ping' command")
    assert ann.says("PSUBSCRIBE a*") == "listen"
    assert ann.says("UNSUBSCRIBE") == "listen"
    assert ann.says("GET a") == not_here("get")
    assert ann.says("PUNSUBSCRIBE a*") == "listen"
    assert ann.says("GET a") == "shared"


def test_a_transaction_of_a_subscriber_is_answered_command_by_command() -> None:
    ann = Talk()
    assert ann.says("SUBSCRIBE a") == "listen"
    frames = ann.framer.feed(command("MULTI") + command("PING") + command("EXEC"))
    answers = [ann.session.on_request(frame) for frame in frames]
    assert all(answer.marks & ANSWER for answer in answers)
    abort = error("EXECABORT Transaction discarded because of: " + NOT_HERE.format("exec"))
    pong = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    assert [answer.data for answer in answers] == [not_here("multi"), pong, abort]
    assert ann.says("UNSUBSCRIBE") == "listen"
    (whole,) = ann.framer.feed(command("MULTI") + command("GET a") + command("EXEC"))
    assert whole.note.replies == 3


def test_a_subscriber_of_resp3_may_do_all_but_change_who_it_is() -> None:
    ann = Talk()
    ann.says("HELLO 3")
    ann.hears(b"%7\r\n...")
    assert ann.says("SUBSCRIBE a") == "listen"
    assert ann.session.needs.resp == 3
    assert ann.session.listening
    assert [ann.says(line) for line in ("GET a", "PING", "HELLO 3")] == ["shared"] * 3
    text = "ERR muxproxy: HELLO with another version or user while subscribed is not possible"
    assert ann.says("HELLO 2") == error(text)


def test_a_channel_is_listened_to_in_db_0_whatever_the_clients() -> None:
    ann = Talk()
    ann.says("SELECT 3")
    ann.hears(b"+OK\r\n")
    assert ann.says("SUBSCRIBE a") == "listen"
    assert ann.session.needs is ann.protocol.states.base
    assert ann.db() == 3


def test_who_listens_to_nothing_is_told_so_without_a_server() -> None:
    ann = Talk()
    assert ann.says("UNSUBSCRIBE") == b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"
    assert ann.says("PUNSUBSCRIBE a b").count(b"*3\r\n$12\r\npunsubscribe\r\n$1\r\n") == 2
    assert not ann.session.listening
    ann.says("CLIENT REPLY OFF")
    assert ann.says("SUNSUBSCRIBE z") == b"*3\r\n$12\r\nsunsubscribe\r\n$1\r\nz\r\n:0\r\n"
    assert ann.says("SUBSCRIBE") == b""
    ann.says("CLIENT REPLY ON")
    assert ann.says("SUBSCRIBE") == error("ERR wrong number of arguments for 'subscribe' command")


def test_reset_of_a_listener_is_answered_behind_what_it_is_owed() -> None:
    ann = Talk()
    ann.says("SUBSCRIBE a")
    needs = ann.session.needs
    assert ann.says("RESET") == "listen"
    assert ann.session.needs is needs
    assert ann.says("GET a") == "shared"


# -- commands that are still coming in -----------------------------------------------------------------------


def test_what_needs_its_words_is_not_taken_in_pieces() -> None:
    ann = Talk()
    long = b"x" * 100_000
    for head, text in (
        (
            b"*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n",
            f"subscribe of more than {1 << 20} bytes, ask in smaller pieces",
        ),
        (b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n", "client setname of more than 64 KiB"),
    ):
        talk = Talk()
        assert talk.says(head + b"$2000000\r\n" + long * 11) == error(f"ERR muxproxy: {text}")
    assert ann.says(b"*3\r\n$5\r\nBLPOP\r\n$200000\r\n" + long) == "pin unpin"
    assert ann.session.patience == inf
    assert not ann.frame.marks & LAST
    assert Talk().says(b"*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$200000\r\n" + long) == "shared"
