"""Preludes: what is written to bring a connection into a state, and what it is in when one of them fails."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import PUSH
from muxproxy.protocols.redis.connection import RedisConnection
from muxproxy.protocols.redis.states import Anywhere, Attempt, State
from tests.protocols.redis.talk import HELLO_REPLY, command, connection, error, protocol, told

OK = b"+OK\r\n"
SETNAME = command("CLIENT SETNAME cache")


def say(*lines: str) -> bytes:
    return b"".join(command(line) for line in lines)


def greeted(**options: str) -> RedisConnection:
    upstream = connection(protocol(**options))
    _, replies = upstream.greeting()
    assert told(upstream, *[OK] * replies) == [None] * replies
    return upstream


# -- greeting ------------------------------------------------------------------------------------------------


def test_a_new_connection_authenticates_and_says_whose_it_is() -> None:
    assert connection(protocol()).greeting() == (SETNAME, 1)
    assert connection(protocol(password="pw")).greeting() == (command("AUTH pw") + SETNAME, 2)
    upstream = connection(protocol(username="mux", password="pw"))
    assert upstream.greeting() == (command("AUTH mux pw") + SETNAME, 2)
    assert upstream.state is None
    assert told(upstream, OK, OK) == [None, None]
    assert upstream.state is upstream._protocol.states.base
    assert (upstream._user, upstream._password) == (b"mux", b"pw")


def test_a_server_without_names_will_do_and_one_that_says_no_will_not() -> None:
    for reply, why in (
        (error("ERR unknown subcommand 'SETNAME'"), None),
        (error("NOPERM this user has no permissions"), None),
        (
            error("NOAUTH Authentication required."),
            'NOAUTH Authentication required. (set [redis] password, or auth = "passthrough")',
        ),
        (
            error("ERR max number of clients reached"),
            "CLIENT SETNAME was answered with ERR max number of clients reached",
        ),
        (b"*2\r\n+secret\r\n+data\r\n", "CLIENT SETNAME was answered with an array"),
    ):
        upstream = connection(protocol())
        upstream.greeting()
        assert told(upstream, reply) == [why]


def test_while_a_script_keeps_the_server_busy_a_connection_is_open_and_its_name_waits() -> None:
    busy = error("BUSY Redis is busy running a script.")
    upstream = connection(protocol())
    upstream.greeting()
    assert told(upstream, busy) == [None]
    assert upstream.state is upstream._protocol.states.base
    upstream.reset()
    assert told(upstream, b"+RESET\r\n", busy) == [None, None]
    upstream.fence()
    assert told(upstream, busy) == [None]
    one = State(b"", b"", 1, 2, False)
    assert upstream.prelude(one) == (SETNAME + command("SELECT 1"), 2)
    assert told(upstream, OK, OK) == [None, None]
    assert upstream.prelude(State(b"", b"", 2, 2, False)) == (command("SELECT 2"), 1)


def test_what_means_the_same_anywhere_needs_its_own_user_and_no_prelude() -> None:
    upstream = connection(protocol())
    upstream.greeting()
    told(upstream, error("BUSY Redis is busy running a script."))
    three = State(b"", b"", 3, 3, False)
    assert upstream.prelude(Anywhere(three)) == (b"", 0)  # the name waits, too
    assert upstream.state is upstream._protocol.states.base
    assert not upstream.must_be_quiet(Anywhere(three))
    assert upstream.is_alike(three)
    assert upstream.is_alike(Anywhere(three))
    assert not upstream.is_alike(Anywhere(three, 3))
    assert upstream.prelude(Anywhere(three, 3)) == (SETNAME + command("HELLO 3"), 2)
    assert told(upstream, error("BUSY Redis is busy running a script."), HELLO_REPLY) == [None, None]
    assert upstream.state.key == (b"", b"", 0, 3, False)
    assert upstream.is_alike(Anywhere(three, 3))
    upstream = greeted(auth="passthrough")
    ann = Anywhere(State(b"ann", b"pw", 3, 3, False))
    assert upstream.must_be_quiet(ann)
    assert not upstream.is_alike(ann)
    assert not upstream.is_alike(State(b"ann", b"pw", 0, 2, False))
    assert upstream.prelude(ann) == (command("AUTH ann pw"), 1)
    assert told(upstream, OK) == [None]
    assert upstream.state.key == (b"ann", b"pw", 0, 2, False)
    assert upstream.prelude(ann) == (b"", 0)


@pytest.mark.parametrize(
    "text",
    [
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "BUSY Valkey is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "CLUSTERDOWN",
    ],
)
def test_a_servers_state_is_told_as_it_is_and_says_nothing_about_ours(text: str) -> None:
    upstream = greeted()
    states = upstream._protocol.states
    one = states.keep(State(b"", b"", 1, 2, False))
    upstream.prelude(one)
    assert told(upstream, error(text)) == [f"SELECT was answered with {text}"]
    assert states.find(one.key) is one
    upstream.prelude(State(b"ann", b"secret", 0, 2, False))
    assert told(upstream, error(f"{text} AUTH ann secret")) == [f"AUTH was answered with {text}"]


def test_a_connection_whose_client_authenticates_as_itself_gets_its_name_behind_it() -> None:
    upstream = connection(protocol(auth="passthrough"))
    upstream.greeting()
    assert told(upstream, error("NOAUTH Authentication required.")) == [None]
    states = upstream._protocol.states
    ann = State(b"ann", b"pw", 0, 2, False)
    upstream.prelude(Attempt(states.base, ann, anyone=True))
    ann = states.keep(ann)
    upstream.on_attempt(ann)
    assert upstream.state is not ann
    assert upstream.prelude(ann) == (SETNAME, 1)
    assert told(upstream, OK) == [None]
    assert upstream.state is ann


def test_a_password_that_is_wrong_is_not_told() -> None:
    upstream = connection(protocol(password="pw"))
    upstream.greeting()
    wrong = "WRONGPASS invalid username-password pair or user is disabled."
    assert told(upstream, error(wrong), OK) == [None, f"AUTH was answered with {wrong}"]


@pytest.mark.parametrize(
    "no",
    [
        "ERR unknown command 'AUTH', with args beginning with: 'mux' 'hunter2' ",  # rename-command AUTH ""
        "ERR unknown command `AUTH`, with args beginning with: `mux`, `hunter2`, ",
        "WRONGPASS hunter2 is not the password of mux",
        "HUNTER2",
        "hunter2 what a server may say that means harm",
        "NOAUTH hunter2",
    ],
)
def test_a_server_that_repeats_our_password_tells_it_to_nobody(no: str) -> None:
    for auth in (error(no), b"+" + error(no)[1:], b"*1\r\n" + error(no)):
        upstream = connection(protocol(username="mux", password="hunter2"))
        upstream.greeting()
        said = told(upstream, auth, error(no))
        assert not any("hunter2" in (why or "").lower() for why in said), said


# -- preludes ------------------------------------------------------------------------------------------------


def test_only_what_differs_is_said() -> None:
    upstream = greeted()
    one = State(b"", b"", 1, 2, False)
    assert upstream.prelude(one) == (command("SELECT 1"), 1)
    assert upstream.state is None  # until the reply is in
    assert told(upstream, OK) == [None]
    assert upstream.state is one
    other = State(b"ann", b"pw", 2, 3, True)
    assert upstream.prelude(other) == (say("AUTH ann pw", "HELLO 3", "SELECT 2", "READONLY"), 4)
    assert told(upstream, OK, HELLO_REPLY, OK, OK) == [None] * 4
    assert upstream.state is other
    back = State(b"ann", b"pw", 2, 2, False)
    assert upstream.prelude(back) == (say("HELLO 2", "READWRITE"), 2)


def test_an_equal_state_needs_no_prelude() -> None:
    upstream = greeted()
    twin = State(b"", b"", 0, 2, False)
    assert upstream.prelude(twin) == (b"", 0)
    assert upstream.state is twin


def test_what_fails_leaves_its_own_thing_as_it_was_and_no_other() -> None:
    upstream = greeted()
    upstream.prelude(State(b"ann", b"pw", 16, 3, False))
    no = "ERR DB index is out of range"
    assert told(upstream, OK, HELLO_REPLY, error(no)) == [None, None, f"SELECT was answered with {no}"]
    assert upstream.state.key == (b"ann", b"pw", 0, 3, False)
    assert upstream.prelude(upstream.state) == (b"", 0)


def test_one_reason_for_one_prelude_however_much_of_it_failed() -> None:
    upstream = greeted()
    upstream.prelude(State(b"ann", b"pw", 16, 2, False))
    assert told(upstream, error("WRONGPASS no"), error("ERR no")) == [
        None,
        "AUTH was answered with WRONGPASS",
    ]
    assert upstream.state is upstream._protocol.states.base


def test_a_state_that_no_longer_works_is_no_longer_known() -> None:
    upstream = greeted()
    states = upstream._protocol.states
    state = states.keep(State(b"ann", b"pw", 0, 2, False))
    upstream.prelude(state)
    told(upstream, error("WRONGPASS no"))
    assert states.find(state.key) is None


def test_an_attempt_is_made_in_its_base_and_leaves_the_state_open() -> None:
    upstream = greeted()
    one, two = State(b"", b"", 1, 2, False), State(b"", b"", 2, 2, False)
    needs = Attempt(one, two)
    assert upstream.prelude(needs) == (command("SELECT 1"), 1)
    told(upstream, OK)
    assert upstream.prelude(needs) == (b"", 0)
    assert upstream.state is None
    upstream.on_attempt(None)
    assert upstream.state.key == one.key
    assert upstream.prelude(needs) == (b"", 0)
    upstream.on_attempt(two)
    assert upstream.state is two
    assert upstream.prelude(State(b"", b"", 0, 2, False)) == (command("SELECT 0"), 1)


def test_who_authenticates_need_not_be_on_a_strangers_connection() -> None:
    upstream = greeted(auth="passthrough")
    ann = State(b"ann", b"pw", 1, 2, False)
    upstream.prelude(ann)
    told(upstream, OK, OK)
    base = upstream._protocol.states.base
    assert upstream.prelude(Attempt(base, State(b"bob", b"pw", 0, 2, False), anyone=True)) == (
        command("SELECT 0"),
        1,
    )
    told(upstream, OK)
    upstream.prelude(Attempt(base, State(b"bob", b"pw", 0, 2, False), anyone=True))
    upstream.on_attempt(None)
    assert upstream.state.key == (b"ann", b"pw", 0, 2, False)  # it is who it was


def test_a_stranger_gets_a_connection_that_has_forgotten_who_it_was() -> None:
    upstream = greeted(auth="passthrough")
    upstream.prelude(State(b"ann", b"pw", 1, 3, False))
    told(upstream, OK, HELLO_REPLY, OK)
    base = upstream._protocol.states.base
    assert upstream.prelude(base) == (command("RESET") + SETNAME, 2)
    told(upstream, b"+RESET\r\n", error("NOAUTH Authentication required."))
    assert upstream.state is base
    assert upstream._protocol.needs_auth
    assert upstream.prelude(base) == (b"", 0)
    attempt = Attempt(base, State(b"", b"", 0, 3, False))
    assert upstream.prelude(attempt) == (b"", 0)  # its name has to wait for somebody who may say it
    upstream.on_attempt(None)
    assert upstream.prelude(State(b"ann", b"pw", 0, 2, False)) == (command("AUTH ann pw") + SETNAME, 2)
    told(upstream, OK, OK)
    assert upstream._protocol.needs_auth
    other = connection(upstream._protocol)
    other.greeting()
    told(other, OK)
    assert not upstream._protocol.needs_auth  # the server has been told otherwise meanwhile


def test_a_server_without_reset_has_no_place_for_a_stranger_behind_a_user() -> None:
    upstream = greeted(auth="passthrough")
    upstream.prelude(State(b"", b"pw", 0, 2, False))
    told(upstream, OK)
    upstream.prelude(upstream._protocol.states.base)
    no = "ERR unknown command `RESET`, with args beginning with: "
    assert told(upstream, error(no), OK) == [None, "RESET was answered with ERR unknown command"]
    assert upstream.state.key == (b"", b"pw", 0, 2, False)


# -- reset, fence, listen ------------------------------------------------------------------------------------


def test_reset_brings_back_what_a_new_connection_has() -> None:
    upstream = greeted(username="mux", password="pw")
    upstream.prelude(State(b"mux", b"pw", 5, 3, True))
    told(upstream, HELLO_REPLY, OK, OK)
    upstream.dirty = True
    assert upstream.reset() == (command("RESET"), 1)
    assert not upstream.dirty
    assert told(upstream, b"+RESET\r\n") == [None]
    base = upstream._protocol.states.base
    assert upstream.state is not base
    assert upstream.must_be_quiet(base)
    assert upstream.prelude(State(b"mux", b"pw", 5, 2, False)) == (
        command("AUTH mux pw") + SETNAME + command("SELECT 5"),
        3,
    )
    upstream = greeted()
    assert upstream.reset() == (command("RESET") + SETNAME, 2)
    assert told(upstream, b"+RESET\r\n", OK) == [None] * 2
    assert upstream.state is upstream._protocol.states.base


def test_what_brings_another_users_state_is_asked_when_nothing_else_is() -> None:
    upstream = greeted(auth="passthrough")
    base = upstream._protocol.states.base
    ann, other_db = State(b"ann", b"pw", 0, 2, False), State(b"ann", b"pw", 1, 3, False)
    assert upstream.must_be_quiet(ann)
    assert upstream.must_be_quiet(Attempt(ann, other_db))
    assert not upstream.must_be_quiet(Attempt(base, ann, anyone=True))  # it authenticates by itself
    upstream.prelude(ann)
    told(upstream, OK)
    assert not upstream.must_be_quiet(ann)
    assert not upstream.must_be_quiet(other_db)
    assert not upstream.must_be_quiet(base)  # RESET, which is always answered
    assert upstream.must_be_quiet(State(b"ann", b"other", 0, 2, False))
    assert upstream.must_be_quiet(State(b"bob", b"pw", 0, 2, False))


def test_a_server_without_reset_is_asked_for_it_once() -> None:
    redis = protocol()
    upstream = connection(redis)
    upstream.greeting()
    told(upstream, OK)
    upstream.reset()
    no = "ERR unknown command 'RESET'"
    assert told(upstream, error(no), OK) == [None, "RESET was answered with ERR unknown command"]
    assert connection(redis).reset() == (b"", 0)


def test_a_fence_is_passed_by_its_own_echo_only() -> None:
    upstream = greeted()
    data, replies = upstream.fence()
    assert (data, replies) == (command("ECHO muxproxy-1"), 1)
    assert told(upstream, b"$10\r\nmuxproxy-1\r\n") == [None]
    assert upstream.fence() == (command("ECHO muxproxy-2"), 1)
    assert told(upstream, b"$10\r\nmuxproxy-1\r\n") == ["out of step: ECHO was answered with a bulk string"]
    for proves_nothing in ("LOADING wait", "NOPERM no", "ERR unknown command 'ECHO'"):
        upstream.fence()
        assert told(upstream, error(proves_nothing)) == [None]
    upstream.fence()
    assert told(upstream, error("NOAUTH no")) == ["out of step: ECHO was answered with NOAUTH"]
    assert upstream.state is upstream._protocol.states.base


def test_a_fence_in_the_middle_of_a_prelude_is_its_own() -> None:
    upstream = greeted()
    one = State(b"", b"", 1, 2, False)
    upstream.fence()
    upstream.prelude(one)
    assert told(upstream, b"$10\r\nmuxproxy-1\r\n", OK) == [None, None]
    assert upstream.state is one


def test_a_connection_that_listens_takes_arrays_for_pushes() -> None:
    redis = protocol()
    replies = redis.replies()
    redis.connection(replies).listen()
    (frame,) = replies.feed(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")
    assert frame.marks & PUSH
