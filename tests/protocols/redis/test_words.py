"""Redis' own words: what cannot be written down as a constant."""

from __future__ import annotations

from muxproxy.protocols.redis import words as say


def test_an_error_is_one_line_whatever_is_in_it() -> None:
    assert say.error("ERR a\r\nb\tc é") == "-ERR a b c é\r\n".encode()
    assert say.ours("no") == b"-ERR muxproxy: no\r\n"


def test_of_exec_an_error_before_execution_is_said_in_other_words() -> None:
    assert say.rejected("get", say.NOAUTH) == say.NOAUTH
    prefix = b"-EXECABORT Transaction discarded because of: "
    assert say.rejected("exec", say.NOAUTH) == prefix + b"NOAUTH Authentication required.\r\n"
    assert say.rejected("exec", b"-ERR no\r\n") == prefix + b"no\r\n"


def test_nothing_is_written_as_the_version_writes_it() -> None:
    assert (say.null(2), say.null(3)) == (b"$-1\r\n", b"_\r\n")
    assert say.bulk(b"") == b"$0\r\n\r\n"


def test_of_a_servers_answer_to_our_own_question_only_words_known_here_are_told() -> None:
    for no, known in (
        (say.WRONGPASS, "WRONGPASS invalid username-password pair or user is disabled."),
        (b"-ERR DB index is out of range\r\n", "ERR DB index is out of range"),
        (b"-ERR unknown command 'AUTH', with args beginning with: 'pw' \r\n", "ERR unknown command"),
        (b"-NOPERM this user has no permissions to run the 'select' command\r\n", "NOPERM"),
        (b"-ERR pw\r\n", "ERR"),
        (b"-PW\r\n", "an error that has no code"),
        (b"-\r\n", "an error that has no code"),
        (b"-ERR\xff\r\n", "an error that has no code"),
        (b"+pw\r\n", "a simple string"),
        (b"$2\r\npw\r\n", "a bulk string"),
        (b"!2\r\npw\r\n", "another type of reply"),
        (b"", "another type of reply"),
    ):
        assert say.of_server(no) == known
