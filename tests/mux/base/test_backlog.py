"""What is kept for a client whose socket is full comes back as it was, in few parts."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from muxproxy.mux.base.backlog import JOINED, Backlog


@given(st.lists(st.integers(1, 3 * JOINED), max_size=20), st.integers(0, 10))
def test_what_is_taken_is_what_was_added_in_its_order(sizes: list[int], early: int) -> None:
    backlog = Backlog()
    added = taken = b""
    for number, size in enumerate(sizes):
        data = bytes([number]) * size
        backlog.add(data)
        added += data
        if number < early:
            taken += backlog.take()
        assert backlog.size == len(added) - len(taken)
    while backlog.size:
        taken += backlog.take()
    assert taken == added


def test_small_parts_cost_little_more_than_their_bytes() -> None:
    backlog = Backlog()
    tracemalloc.start()
    for _ in range(100_000):
        backlog.add(b"+OK\r\n")
    assert tracemalloc.get_traced_memory()[0] < 1.2 * 500_000
    tracemalloc.stop()
    parts = 0
    while backlog.size:
        parts += 1
        backlog.take()
    assert parts <= 500_000 // JOINED + 1


def test_a_cleared_one_is_empty() -> None:
    backlog = Backlog()
    backlog.add(b"a" * JOINED)
    backlog.add(b"b")
    backlog.clear()
    assert backlog.size == 0
    backlog.add(b"c")
    assert (backlog.take(), backlog.size) == (b"c", 0)
