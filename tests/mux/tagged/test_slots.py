"""The ledger of ids says what a dict would, whatever ids a server answers and in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.errors import BugError
from muxproxy.mux.exchange import Exchange
from muxproxy.mux.tagged.slots import LEAST, Slots
from muxproxy.protocols.contract import FIRST, LAST, Frame

# What is done with it: so many are sent; of those in flight the nth is answered; nobody's id is given out;
# all are lost.
STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, LEAST)),
    st.tuples(st.just("remove"), st.integers(0, 3 * LEAST)),
    st.tuples(st.just("skip"), st.integers(1, 3 * LEAST)),
    st.tuples(st.just("clear"), st.just(0)),
)


def exchange() -> Exchange:
    return Exchange(None, Frame(b"", FIRST | LAST))


class Both:
    """The ledger and a dict, oldest first, that is told the same."""

    def __init__(self) -> None:
        self.slots = Slots()
        self.known: dict[int, Exchange] = {}
        self.given = 0

    def add(self) -> None:
        one = exchange()
        tag = self.slots.add(one)
        assert tag == one.wire_tag > self.given, "an id is never used again"
        self.given = tag
        self.known[tag] = one

    def step(self, what: str, number: int) -> None:
        if what == "add":
            for _ in range(number):
                self.add()
        elif what == "skip":
            for _ in range(number):
                assert self.slots.skip() > self.given
                self.given = self.slots.given
        elif what == "clear":
            self.slots.clear()
            self.known.clear()
        elif self.known:
            tag = list(self.known)[number % len(self.known)]
            self.slots.remove(self.known.pop(tag))

    def check(self) -> None:
        slots, everything = self.slots, list(self.known.values())
        assert slots.all() == everything
        assert slots.size == len(everything)
        assert slots.oldest() is (everything[0] if everything else None)
        assert slots.newest() is (everything[-1] if everything else None)
        tags = list(range(min(self.known, default=0) - 2, self.given + 3))
        assert [slots.get(tag) for tag in tags] == [self.known.get(tag) for tag in tags]


@given(st.lists(STEPS, max_size=30))
def test_it_is_a_dict_but_for_what_it_costs(steps: list[tuple[str, int]]) -> None:
    both = Both()
    for what, number in steps:
        both.step(what, number)
        both.check()


@pytest.mark.parametrize(
    "tag", [-(1 << 64), -1, 0, 3, 1 << 31, 1 << 62, (1 << 63) - 1, 1 << 63, 1 << 64, 1 << 65]
)
def test_an_id_that_was_never_given_is_nobodys(tag: int) -> None:
    slots = Slots()
    slots.add(exchange())
    slots.add(exchange())
    assert slots.get(tag) is None


def test_two_that_would_have_one_place_have_two() -> None:
    both = Both()
    both.add()  # it is the last to be answered, of many times as many as there are places
    for _ in range(20 * LEAST):
        both.add()
        both.step("remove", 1)
    both.add()
    both.check()
    both.step("remove", 0)
    both.check()


def test_who_is_not_on_it_cannot_be_taken_off() -> None:
    slots = Slots()
    one = exchange()
    with pytest.raises(BugError, match="no id 0 is in flight"):
        slots.remove(one)
    slots.add(one)
    slots.remove(one)
    other = exchange()
    other.wire_tag = one.wire_tag
    with pytest.raises(BugError, match="no id 1 is in flight"):
        slots.remove(other)
