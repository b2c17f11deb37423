"""States that are known to work: one object each, bounded."""

from __future__ import annotations

from muxproxy.protocols.redis.states import EACH, State, States

BASE = State(b"", b"", 0, 2, False)


def test_a_states_key_is_all_of_it() -> None:
    state = State(b"u", b"p", 1, 3, True)
    assert State(*state.key).key == state.key == (b"u", b"p", 1, 3, True)


def test_only_what_was_kept_is_known_and_there_is_one_of_it() -> None:
    states = States(BASE)
    one, other = State(b"", b"", 1, 2, False), State(b"", b"", 1, 2, False)
    assert states.find(one.key) is None
    assert states.keep(one) is one
    assert states.keep(other) is one
    assert states.find(other.key) is one
    states.forget(other)
    assert states.find(one.key) is None


def test_the_base_is_there_from_the_beginning_unless_a_server_must_say_so_first() -> None:
    assert States(BASE).find(BASE.key) is BASE
    strangers = States(BASE, proven=False)
    assert strangers.find(BASE.key) is None
    assert strangers.keep(State(*BASE.key)) is BASE
    assert strangers.find(BASE.key) is BASE
    strangers.forget(BASE)
    assert strangers.find(BASE.key) is BASE


def test_all_who_listen_as_one_user_in_one_version_need_one_state() -> None:
    states = States(BASE)
    assert states.for_listening(State(b"", b"", 7, 2, True)) is BASE
    resp3 = states.for_listening(State(b"", b"", 7, 3, False))
    assert resp3.key == (b"", b"", 0, 3, False)
    assert states.for_listening(State(b"", b"", 1, 3, True)) is resp3
    assert states.for_listening(State(b"ann", b"pw", 1, 3, True)) is not resp3


def test_they_are_bounded_and_the_oldest_goes() -> None:
    states = States(BASE, 3 * EACH)
    kept = [states.keep(State(b"", b"", db, 2, False)) for db in range(1, 5)]
    assert [states.find(state.key) is state for state in kept] == [False, True, True, True]
    assert states.find(BASE.key) is BASE


def test_large_passwords_count_as_what_they_are() -> None:
    states = States(BASE, 1 << 20)
    kept = [states.keep(State(b"u%d" % n, bytes(60_000), 0, 2, False)) for n in range(1_000)]
    known = [state for state in kept if states.find(state.key) is state]
    assert known == kept[-len(known) :]
    assert len(known) == 17
    assert states.size <= 1 << 20
    for state in known:
        states.forget(state)
    assert states.size == 0
