"""Requests: what one command is, what is held, what goes as one, and how Redis says that it is none.

The texts of protocol errors are those that redis-server 7.0.15 answered to the same bytes.
"""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import ANSWER, BROKEN, END_CLIENT, FIRST, IDEMPOTENT, LAST
from muxproxy.protocols.redis.commands.command import Command
from muxproxy.protocols.redis.framing.requests import REQUEST_BUFFER, RequestFramer
from muxproxy.protocols.redis.framing.settings import SUBSCRIBE_BUFFER
from muxproxy.protocols.redis.resp.grammar import MAX_LINE, arguments, commands, multibulk
from tests.protocols.redis.framing.feeding import GET, SET, Seen, bytewise, cmd, requests, settings

BEHIND = cmd("GET behind")


def every_way(data: bytes, **options: bool | int) -> list[Seen]:
    """Whole, byte by byte, in two at every place, and with a command behind it, which is left out again."""
    ways = [[data], bytewise(data), *([data[:cut], data[cut:]] for cut in range(1, len(data)))]
    all_seen = [requests(way, **options) for way in ways]
    seen = requests([data + BEHIND], **options)
    if seen.fault is None:
        assert seen.messages[-1].data == BEHIND
        del seen.messages[-1]
    return [*all_seen, seen]


def answer(text: str) -> bytes:
    return f"-ERR Protocol error: {text}\r\n".encode("latin-1")


@pytest.mark.parametrize(
    "data",
    [
        cmd("GET a"),
        cmd("get a"),
        cmd("SET a 1"),
        cmd("DBSIZE"),
        cmd("MSET a 1 b 2 c 3"),
        cmd("Get a"),
        cmd("nobody knows this"),
        multibulk([b"SET", b"a\r\nb", b"$3\r\n*2\r\n"]),
        multibulk([b"GET", b""]),
        multibulk([b""]),
        multibulk([b"GET", b"\r\n"]),
        multibulk([b"G\r\n$1", b"a"]),
        multibulk([b"SET", b"k", bytes(range(256))]),
    ],
)
def test_a_command_is_one_frame_of_its_own_bytes(data: bytes) -> None:
    for seen in every_way(data):
        assert seen.data == [data]
        assert seen.messages[0].marks & (FIRST | LAST) == FIRST | LAST


def test_a_command_is_told_by_its_name_however_it_is_spelled() -> None:
    for spelling in ("GET", "get", "gEt"):
        (message,) = requests([cmd(f"{spelling} a")]).messages
        assert (message.note, message.marks) == (GET, FIRST | LAST | IDEMPOTENT)
    (message,) = requests([cmd("SET a 1")]).messages
    assert (message.note, message.marks) == (SET, FIRST | LAST)


@pytest.mark.parametrize("data", [b"*0\r\n", b"*-1\r\n", b"*-5\r\n", b"\r\n", b"\n", b"  \t \r\n"])
def test_an_empty_command_is_nothing(data: bytes) -> None:
    for seen in every_way(data):
        assert (seen.messages, seen.fault) == ([], None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"GET a\r\n", [b"GET", b"a"]),
        (b"GET a\n", [b"GET", b"a"]),
        (b"  GET \t a  \r\n", [b"GET", b"a"]),
        (b'SET a "x \\x41\\r\\n\\"" \r\n', [b"SET", b"a", b'x A\r\n"']),
        (b"SET a 'it\\'s'\r\n", [b"SET", b"a", b"it's"]),
        (b"$3\r\n", [b"$3"]),
    ],
)
def test_an_inline_request_becomes_a_multibulk_one(line: bytes, words: list[bytes]) -> None:
    for seen in every_way(line):
        assert seen.data == [multibulk(words)]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"*abc\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"* 1\r\n", "invalid multibulk length"),
        (b"*1_0\r\n", "invalid multibulk length"),
        (b"*1\rx$4\rxPING\r\n", "invalid multibulk length"),  # Redis answers +PONG
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*9223372036854775808\r\n", "invalid multibulk length"),
        (b"*1\r\nxyz\r\n", "expected '$', got 'x'"),
        (b"*1\r\n'\r\n", "expected '$', got '''"),
        (b"*1\r\n\xff\r\n", "expected '$', got '\xff'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$abc\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b'set "a\r\n', "unbalanced quotes in request"),
        (b"set 'a\r\n", "unbalanced quotes in request"),
        (b'get "a"b\r\n', "unbalanced quotes in request"),
    ],
)
def test_a_protocol_error_is_answered_as_redis_does_and_is_the_last_thing(data: bytes, text: str) -> None:
    for seen in every_way(data):
        assert seen.messages == []
        assert (seen.fault, seen.answered) == (answer(text), True)
    seen = requests([BEHIND + data])
    assert (seen.data, seen.fault) == ([BEHIND], answer(text))
    assert requests([cmd("SELECT 1") + data]).fault == answer(text)


@pytest.mark.parametrize(
    ("begin", "text"),
    [
        (b"a", "too big inline request"),
        (b"*", "too big mbulk count string"),
        (b"*1\r\n$", "too big bulk count string"),
        (b"*1\r\nx", "too big bulk count string"),
    ],
)
def test_a_line_without_end_is_an_error_beyond_64_kib(begin: bytes, text: str) -> None:
    line = begin + b"1" * MAX_LINE
    line = line[: line.rfind(b"\n") + 1 + MAX_LINE]
    for chunks in ([line, b"1"], [line + b"1"], [line[:7], line[7:] + b"11"]):
        assert requests(chunks).fault == answer(text)
    assert requests([line]).fault is None


def test_a_line_of_64_kib_is_read_like_any_other() -> None:
    line = b"a" * (MAX_LINE - 1) + b"\r\n"
    for chunks in ([line], [line[:-1], line[-1:]], [line[:-2], line[-2:]]):
        assert requests(chunks).data == [multibulk([line[:-2]])]
    assert requests([b"a" * MAX_LINE + b"\r\n"]).fault == answer("too big inline request")
    digits = b"*" + b"1" * (MAX_LINE - 1)
    for chunks in ([digits + b"\r\n"], [digits + b"\r", b"\n"], [digits, b"\r\n"]):
        assert requests(chunks).fault == answer("invalid multibulk length")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        # Redis reads over these two bytes whatever they are; the next server in line may not.
        (b"*1\r\n$4\r\nPINGxx", "a bulk does not end with CRLF"),
        (b"*2\r\n$3\r\nGET\r\n$1\r\na\rb", "a bulk does not end with CRLF"),
        # Redis 7.0 waits for ever, and everybody on the same connection with it.
        (b"PI\0NG\r\n", "a NUL in an inline request"),
    ],
)
def test_where_redis_is_careless_the_error_has_our_own_prefix(data: bytes, text: str) -> None:
    for seen in every_way(data):
        assert seen.messages == []
        assert seen.fault == f"-ERR muxproxy: Protocol error: {text}\r\n".encode()


@pytest.mark.parametrize("data", [b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"host: x\r\n", cmd("Post /")])
def test_a_browser_is_cut_off_without_a_word_as_redis_does(data: bytes) -> None:
    for seen in every_way(data):
        assert (seen.messages, seen.fault, seen.answered) == ([], b"", True)


def test_who_has_not_authenticated_may_send_little() -> None:
    eleven, ten = b"*11\r\n", cmd("a b c d e f g h i j")
    large, small = b"*1\r\n$16385\r\n", multibulk([b"SET", b"x" * 16384])
    assert requests([eleven], trusted=False).fault == answer("unauthenticated multibulk length")
    assert requests([large], trusted=False).fault == answer("unauthenticated bulk length")
    assert requests([ten, small], trusted=False).data == [ten, small]
    assert requests([eleven, large]).fault == answer("expected '$', got '*'")


def test_limits_are_configurable() -> None:
    limits = {"max_arguments": 3, "max_argument": 5}
    assert requests([cmd("SET a 12345")], **limits).data == [cmd("SET a 12345")]
    assert requests([cmd("SET a 123456")], **limits).fault == answer("invalid bulk length")
    assert requests([cmd("SET a 1 2")], **limits).fault == answer("invalid multibulk length")


def test_a_large_command_goes_on_in_parts_and_small_ones_around_it_whole() -> None:
    value = bytes(range(256)) * 4096
    large = multibulk([b"SET", b"k", value])
    data = cmd("GET a") + large + cmd("GET b")
    for size in (1000, 65536, 256 * 1024, len(data)):
        seen = requests([data[at : at + size] for at in range(0, len(data), size)])
        assert seen.data == [cmd("GET a"), large, cmd("GET b")]
        assert seen.names == ["get", "set", "get"]
        assert seen.messages[1].frames == 1 if size == len(data) else seen.messages[1].frames > 3


def test_no_more_than_64_kib_of_a_command_are_held() -> None:
    framer = RequestFramer(settings())
    framer.trusted = True
    begin = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$900000\r\n"
    assert len(framer.feed(begin)) == 0
    assert (framer.held, framer.midway) == (len(begin), True)
    assert len(framer.feed(b"x" * (REQUEST_BUFFER - len(begin)))) == 0
    assert framer.held == REQUEST_BUFFER
    (first,) = framer.feed(b"x")
    assert (len(first.data), first.marks, first.note) == (REQUEST_BUFFER + 1, FIRST, SET)
    assert (framer.held, framer.midway) == (0, False)
    chunk = b"x" * 1000
    (part,) = framer.feed(chunk)
    assert part.data is chunk  # nothing is copied any more
    assert part.marks == 0


@pytest.mark.parametrize("size", [1000, 65536, 256 * 1024])
def test_a_command_about_channels_is_whole_up_to_a_mebibyte(size: int) -> None:
    names = [b"channel-%06d" % number for number in range(80_000)]
    for count, is_whole in ((49_000, True), (80_000, False)):
        data = multibulk([b"SUBSCRIBE", *names[:count]])
        assert (len(data) <= SUBSCRIBE_BUFFER) is is_whole
        seen = requests([data[at : at + size] for at in range(0, len(data), size)])
        assert (seen.data, seen.names) == ([data], ["subscribe"])
        assert (seen.messages[0].frames == 1) is is_whole


def test_a_large_command_that_goes_wrong_after_its_first_part_is_broken() -> None:
    large = multibulk([b"SET", b"x" * REQUEST_BUFFER])
    for end in (b"*", b"x\r\n"):
        seen = requests([large[:-1].replace(b"*2", b"*3"), b"\n" + end, b"\r\n" + BEHIND])
        assert seen.fault is not None
        assert not seen.answered
        assert not seen.messages[0].whole


def test_a_name_must_fit_into_what_is_held() -> None:
    seen = requests([multibulk([b"x" * REQUEST_BUFFER])[:-2]])
    assert seen.fault == b"-ERR muxproxy: Protocol error: a command name of more than 65536 bytes\r\n"


def test_many_commands_in_one_chunk_come_out_as_they_went_in() -> None:
    some = [cmd("SET a 1"), cmd("GET a"), cmd("DBSIZE"), multibulk([b"SET", b"a\r\n", b"x" * 3000])]
    everything = [*some, cmd("MSET a 1 b 2"), b"GET inline\r\n", *some, cmd("PING"), cmd("nobody")] * 50
    seen = requests([b"".join(everything)])
    assert seen.data == [cmd("GET inline") if one == b"GET inline\r\n" else one for one in everything]
    assert requests([cmd("SET a 1") * 5000]).data == [cmd("SET a 1")] * 5000


# -- barriers ------------------------------------------------------------------------------------------------


def test_nothing_follows_a_barrier_until_its_reply_is_in() -> None:
    framer = RequestFramer(settings())
    framer.trusted = True
    (select,) = framer.feed(cmd("SELECT 1") + cmd("GET a"))
    assert select.data == cmd("SELECT 1")
    assert framer.held == len(cmd("GET a"))
    assert not framer.midway  # it is not the client who is slow
    assert framer.feed(cmd("GET b")) == ()
    assert framer.feed(b"") == ()
    framer.resume()
    assert [frame.data for frame in framer.feed(b"")] == [cmd("GET a"), cmd("GET b")]
    assert framer.held == 0
    assert [frame.data for frame in framer.feed(cmd("GET c"))] == [cmd("GET c")]


def test_a_barrier_comes_out_alone() -> None:
    framer = RequestFramer(settings())
    framer.trusted = True
    assert [frame.data for frame in framer.feed(cmd("GET a") + cmd("SELECT 1") + cmd("GET b"))] == [
        cmd("GET a")
    ]
    framer.resume()
    assert [frame.data for frame in framer.feed(b"")] == [cmd("SELECT 1")]
    framer.resume()
    assert [frame.data for frame in framer.feed(cmd("GET c"))] == [cmd("GET b"), cmd("GET c")]


def test_a_barrier_that_comes_after_what_is_in_flight_does_not_wait() -> None:
    framer = RequestFramer(settings())
    framer.trusted = True
    framer.feed(cmd("GET a"))
    assert [frame.data for frame in framer.feed(cmd("SELECT 1"))] == [cmd("SELECT 1")]


def test_what_follows_authentication_is_read_with_its_trust() -> None:
    framer = RequestFramer(settings())
    (auth,) = framer.feed(cmd("AUTH x") + multibulk([b"a"] * 11))
    assert auth.data == cmd("AUTH x")
    framer.trusted = True
    framer.resume()
    assert [frame.data for frame in framer.feed(b"")] == [multibulk([b"a"] * 11)]


def test_a_barrier_must_be_small() -> None:
    seen = requests([b"*2\r\n$4\r\nAUTH\r\n$900000\r\n" + b"x" * REQUEST_BUFFER])
    assert seen.fault == b"-ERR muxproxy: Protocol error: auth of more than 65536 bytes\r\n"


# -- transactions --------------------------------------------------------------------------------------------

WHOLE = cmd("MULTI") + cmd("SET a 1") + cmd("GET a") + cmd("EXEC")


def test_a_transaction_that_is_whole_is_one_frame() -> None:
    seen = requests([cmd("GET a") + WHOLE + cmd("GET b") + WHOLE])
    assert seen.names == ["get", "multi(4)", "get", "multi(4)"]
    assert seen.data[1] == WHOLE
    assert commands(WHOLE) == [cmd("MULTI"), cmd("SET a 1"), cmd("GET a"), cmd("EXEC")]
    assert not seen.messages[1].marks & IDEMPOTENT


@pytest.mark.parametrize(
    "data",
    [
        cmd("multi") + cmd("PING") + cmd("discard"),
        cmd("MULTI") + cmd("CLIENT LIST") + cmd("EXEC"),
        b"MULTI\r\nSET a 1\r\n" + cmd("EXEC"),
        cmd("MULTI") + multibulk([b"SET", b"a", b"x" * 60000]) + cmd("EXEC"),
    ],
)
def test_so_is_one_like_this(data: bytes) -> None:
    seen = requests([data])
    assert [name.partition("(")[0] for name in seen.names] == ["multi"]
    assert arguments(commands(seen.data[0])[0])[0].upper() == b"MULTI"


@pytest.mark.parametrize(
    "data",
    [
        cmd("MULTI") + cmd("BLPOP a 0") + cmd("EXEC"),  # should MULTI be refused, it would block everybody
        cmd("MULTI") + cmd("SUBSCRIBE a") + cmd("EXEC"),
        cmd("MULTI") + cmd("unheard of") + cmd("EXEC"),
        cmd("MULTI") + cmd("CLIENT REPLY OFF") + cmd("EXEC"),
        cmd("MULTI") + cmd("CLIENT UNHEARD-OF") + cmd("EXEC"),
        cmd("MULTI") + cmd("SELECT 1") + cmd("EXEC"),
        cmd("MULTI") + cmd("MULTI") + cmd("EXEC"),
        cmd("MULTI x") + cmd("GET a") + cmd("EXEC"),
        cmd("MULTI") + cmd("GET a") + cmd("EXEC x"),
        cmd("MULTI") + cmd("GET a") + cmd("DISCARD x"),
        cmd("SUBSCRIBE a") + cmd("MULTI") + cmd("EXEC"),
        cmd("CLIENT REPLY SKIP") + cmd("MULTI") + cmd("EXEC"),
        cmd("MULTI") + 2 * multibulk([b"SET", b"a", b"x" * 33000]) + cmd("EXEC"),
        cmd("MULTI") + cmd("GET a"),
    ],
)
def test_but_not_one_like_this(data: bytes) -> None:
    seen = requests([data])
    assert len(seen.names) > 1
    assert b"".join(seen.data) == data


def test_a_transaction_in_pieces_is_not_and_the_next_whole_one_is() -> None:
    half = len(cmd("MULTI") + cmd("SET a 1"))
    pieces = ["multi", "set", "get", "exec"]
    assert requests([WHOLE[:half], WHOLE[half:], WHOLE]).names == [*pieces, "multi(4)"]
    assert requests([WHOLE[:half] + WHOLE, WHOLE]).names == ["multi", "set", *pieces, "multi(4)"]
    assert requests([cmd("MULTI"), cmd("EXEC x"), WHOLE]).names == ["multi", "exec", "multi(4)"]
    assert requests([cmd("MULTI"), cmd("DISCARD x"), WHOLE]).names == ["multi", "discard", *pieces]
    assert requests([cmd("MULTI"), cmd("RESET"), WHOLE]).names == ["multi", "reset", "multi(4)"]


def test_nor_is_one_of_a_client_whose_session_wants_to_see_every_command() -> None:
    assert requests([WHOLE], groups=False).names == ["multi", "set", "get", "exec"]
    assert requests([WHOLE], trusted=False).names == ["multi", "set", "get", "exec"]


def test_after_an_error_nothing_is_looked_at() -> None:
    framer = RequestFramer(settings())
    framer.trusted = True
    (frame,) = framer.feed(b"*x\r\n" + BEHIND)
    assert frame.marks == FIRST | LAST | ANSWER | END_CLIENT
    framer.resume()
    assert framer.feed(BEHIND) == ()
    assert (framer.held, framer.midway) == (0, False)


def test_the_notes_of_frames_are_the_tables_own_objects() -> None:
    for message in requests([cmd("GET a") + cmd("SET a 1") + cmd("DBSIZE")]).messages:
        assert type(message.note) is Command
    assert not requests([cmd("GET a")]).messages[0].marks & (ANSWER | BROKEN)
