"""redigo's rules: what its pool.go does, case by case."""

from __future__ import annotations

from muxproxy.incident.redis.redigo import Pool


def test_what_was_used_last_is_used_first_and_more_than_max_idle_closes_the_oldest() -> None:
    pool: Pool[str] = Pool(max_idle=2, max_active=4, wait=False)
    assert pool.get_idle() is None
    assert [pool.may_dial() for _ in range(5)] == [True] * 4 + [False]  # ErrPoolExhausted
    assert not pool.must_wait()
    assert [pool.put(name) for name in "abcd"] == [None, None, "a", "b"]
    assert (pool.active, pool.in_use) == (2, 0)
    assert pool.get_idle() == "d"
    assert pool.in_use == 1


def test_with_wait_nobody_is_refused_and_what_is_lost_makes_room() -> None:
    pool: Pool[str] = Pool(max_idle=2, max_active=2, wait=True)
    assert not pool.must_wait()
    assert pool.may_dial()
    assert pool.may_dial()
    assert pool.must_wait()
    pool.lost()
    assert not pool.must_wait()
    assert pool.may_dial()
    pool.put("a")
    assert not pool.must_wait()
    assert pool.get_idle() == "a"
    assert pool.must_wait()
