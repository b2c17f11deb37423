"""What is remembered of one client: whether it hears its replies, what is pinned, and how much at most."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import PIN, UNPIN, Reason
from tests.protocols.redis.talk import Talk, command, error


def test_client_reply_off_silences_all_until_on() -> None:
    ann = Talk()
    said = [ann.says(f"CLIENT REPLY {mode}") for mode in ("OFF", "x")]
    said += [ann.says(line) for line in ("GET a", "CLIENT ID", "SYNC", "BLPOP a 1", "HELLO 3")]
    assert said == [b"", b"", "shared mute", b"", b"", "pin unpin mute", "shared mute"]
    assert ann.hears(b"-ERR unknown command 'HELLO'\r\n") == b""
    assert ann.says(command("MULTI") + command("EXEC")) == "shared mute"
    assert ann.frame.note.replies == 2
    assert ann.says("CLIENT REPLY ON") == b"+OK\r\n"
    assert ann.says("GET a") == "shared"


def test_client_reply_skip_silences_one() -> None:
    ann = Talk()
    skip = "CLIENT REPLY SKIP"
    said = [ann.says(line) for line in (skip, "GET a", "GET a", skip, skip, "GET a", "GET a", skip)]
    assert said == [b"", "shared mute", "shared", b"", b"", "shared mute", "shared", b""]
    assert ann.says("CLIENT REPLY ON") == b"+OK\r\n"
    assert [ann.says(line) for line in ("CLIENT REPLY OFF", skip, "GET a")] == [b"", b"", "shared mute"]
    assert ann.says("RESET") == b"+RESET\r\n"
    assert ann.says("GET a") == "shared"


def test_client_reply_skip_before_a_whole_transaction_silences_its_multi_alone() -> None:
    ann = Talk()
    ann.says("CLIENT REPLY SKIP")
    ann.says(command("MULTI") + command("GET a") + command("EXEC"))
    assert ann.hears(b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n$-1\r\n") == b"+QUEUED\r\n*1\r\n$-1\r\n"
    assert ann.frame.note.owed == 2


def test_asking_goes_with_the_next_command_and_with_no_other() -> None:
    ann = Talk()
    assert ann.says("ASKING") == b"+OK\r\n"
    assert ann.says("SET a 1") == "shared"
    assert ann.frame.data == command("ASKING") + command("SET a 1")
    assert ann.hears(b"+OK\r\n", b"-TRYAGAIN\r\n") == b"-TRYAGAIN\r\n"
    assert ann.says("SET a 1") == "shared"
    assert ann.frame.data == command("SET a 1")
    assert ann.says("ASKING x") == error("ERR wrong number of arguments for 'asking' command")
    ann.says("ASKING")
    assert ann.says("RESET") == b"+RESET\r\n"
    ann.says("GET a")
    assert ann.frame.data == command("GET a")


def test_asking_goes_with_a_transaction_whole_or_in_pieces_and_with_a_watch() -> None:
    """Seen on 7.0.15: MULTI keeps it until EXEC."""
    ann = Talk()
    whole = command("MULTI") + command("SET a 1") + command("EXEC")
    ann.says("ASKING")
    assert ann.says(whole) == "shared"
    assert ann.frame.data == command("ASKING") + whole
    assert ann.frame.note.owed == 3
    said = (b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n+OK\r\n")
    assert ann.hears(b"+OK\r\n", *said) == b"".join(said)
    for line in ("WATCH a", "MULTI"):
        ann.says("ASKING")
        assert ann.says(line) == "pin"
        assert ann.frame.data == command("ASKING") + command(line)
        assert ann.hears(b"+OK\r\n", b"+OK\r\n") == b"+OK\r\n"
    assert ann.says("SET a 1") == "pin"
    assert ann.frame.data == command("SET a 1")


def test_asking_goes_with_a_command_of_a_module_behind_the_question_what_it_is() -> None:
    ann = Talk()
    ann.says("ASKING")
    assert ann.says("JSON.SET a 1") == "pin unpin"
    asks = command("COMMAND INFO json.set")
    assert ann.frame.data == asks + command("ASKING") + command("JSON.SET a 1")
    known = b"*1\r\n*6\r\n$8\r\njson.set\r\n:-3\r\n*1\r\n+write\r\n:1\r\n:1\r\n:1\r\n"
    assert ann.hears(known, b"+OK\r\n", b"-TRYAGAIN\r\n") == b"-TRYAGAIN\r\n"
    ann.says("ASKING")
    assert ann.says("JSON.SET a 1") == "shared", "as it was learnt"
    assert ann.frame.data == command("ASKING") + command("JSON.SET a 1")


def test_marks_of_a_pin_are_on_each_of_its_frames() -> None:
    ann = Talk()
    ann.says("WATCH a")
    assert ann.frame.marks & (PIN | UNPIN) == PIN
    ann.says("GET a")
    assert ann.frame.marks & (PIN | UNPIN) == PIN


@pytest.mark.parametrize(
    "asks", ["AUTH ann {}", "HELLO 3 AUTH ann {}", "HELLO 3 SETNAME {}", "CLIENT SETNAME {}"]
)
def test_names_and_passwords_are_remembered_up_to_session_buffer(asks: str) -> None:
    ann = Talk(auth="passthrough", session_buffer=1024)
    ann.session.on_trusted()
    answer = ann.says(asks.format("x" * 1024 + "x"))
    assert answer == error("ERR muxproxy: name, user and password are more than session_buffer, 1024 bytes")
    assert ann.frame.note is Reason.SESSION_FULL
    assert ann.says(asks.format("x" * 1000)) != answer
    assert ann.frame.note is not Reason.SESSION_FULL
