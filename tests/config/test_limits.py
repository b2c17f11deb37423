"""Descriptor arithmetic: what is written is kept or refused, what is not written is lowered until it fits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.config import keys, limits
from muxproxy.config.model import (
    AUTO,
    Backend,
    Batch,
    Clients,
    Config,
    Dubbo,
    Limit,
    Node,
    Redis,
    Route,
    Upstream,
)
from muxproxy.errors import ConfigError
from muxproxy.mux.sharings import new_pool
from muxproxy.protocols import build
from tests.config import models
from tests.fakes import FakeWorld


def backend(name: str, listeners: int = 1, upstream: int = 8, **written: Any) -> Backend:
    return Backend(
        name=name,
        protocol="http",
        clients=Clients(listen=tuple(f"127.0.0.1:{n + 1}" for n in range(listeners)), **written),
        upstream=Upstream(servers=("10.0.0.5:80",), max_connections=upstream),
        file=f"{name}.toml",
        flexible=tuple(key for key in ("max_connections", "backlog") if key not in written),
    )


def config(*backends: Backend, workers: int = 1) -> Config:
    return Config(node=Node(workers=workers), backends=backends)


def test_backends_go_to_workers_in_turn_by_name() -> None:
    backends = [backend(name) for name in "dbeac"]
    owners = limits.assign_workers(config(*backends, workers=2))
    assert [[b.name for b in owned] for owned in owners] == [["a", "c", "e"], ["b", "d"]]


def test_a_worker_without_a_backend_is_not_started() -> None:
    assert len(limits.assign_workers(config(backend("a"), backend("b"), workers=8))) == 2


def test_as_many_workers_as_cpus_where_nobody_has_said_how_many() -> None:
    auto = config(backend("a"), backend("b"), workers=AUTO)
    assert limits.for_cpus(auto, 4).node.workers == 4
    assert limits.for_cpus(auto, 0).node.workers == 1
    assert limits.for_cpus(auto, 1000).node.workers == limits.MOST_WORKERS == keys.NODE["workers"].high
    assert limits.for_cpus(auto, 4).backends == auto.backends
    three = config(backend("a"), workers=3)
    assert limits.for_cpus(three, 4) is three


def names(workers: list[list[Backend]]) -> list[list[str]]:
    return [[b.name for b in owned] for owned in workers]


def test_a_live_backend_stays_with_its_worker_and_a_new_one_goes_where_the_fewest_are() -> None:
    backends = [backend(name) for name in "abcef"]
    owners = limits.assign_workers(config(*backends, workers=3), live=[["c", "f"], ["a", "d"], ["b"]])
    # d went; e came, and finds two workers with one each
    assert names(owners) == [["c", "f"], ["a", "e"], ["b"]]


def test_a_worker_that_has_lost_all_is_the_first_to_get_a_new_one() -> None:
    running = [["a"], ["b"]]
    assert names(limits.assign_workers(config(backend("b"), workers=2), running)) == [[], ["b"]]
    two = config(backend("b"), backend("c"), workers=2)
    assert names(limits.assign_workers(two, [[], ["b"]])) == [["c"], ["b"]]


def test_a_second_backend_gets_the_second_worker_that_one_alone_did_not_need() -> None:
    two = config(backend("a"), backend("b"), workers=4)
    assert names(limits.assign_workers(two, live=[["b"]])) == [["b"], ["a"]]


def sharded(name: str, shards: int, **written: Any) -> Backend:
    return msgspec.structs.replace(backend(name, **written), shards=shards)


def test_each_shard_has_a_worker_of_its_own_which_others_may_share() -> None:
    whole = config(sharded("a", 2), backend("b"), backend("c"), sharded("d", 3), workers=3)
    assert names(limits.assign_workers(whole)) == [["a", "c", "d"], ["a", "d"], ["b", "d"]]


def test_there_are_as_many_workers_as_the_most_shards() -> None:
    assert names(limits.assign_workers(config(sharded("a", 3), backend("b")))) == [["a", "b"], ["a"], ["a"]]
    assert len(limits.assign_workers(config(sharded("a", 2), workers=8))) == 2


def test_those_that_have_shards_choose_first() -> None:
    whole = config(backend("b"), backend("a"), sharded("c", 2), workers=2)
    assert names(limits.assign_workers(whole, live=[["a"], ["c"]])) == [["a", "c"], ["b", "c"]]


def test_shards_come_and_go_and_those_that_stay_do_not_move() -> None:
    running = [["a"], ["a", "b"], ["c"]]
    more = config(sharded("a", 3), backend("b"), backend("c"), workers=3)
    assert names(limits.assign_workers(more, running)) == [["a"], ["a", "b"], ["a", "c"]]
    fewer = config(backend("a"), backend("b"), backend("c"), workers=3)
    assert names(limits.assign_workers(fewer, running)) == [["a"], ["b"], ["c"]]
    alone = config(sharded("a", 2))
    assert names(limits.assign_workers(alone, [["a"]])) == [["a"], ["a"]]
    assert names(limits.assign_workers(config(backend("a")), [["a"], ["a"]])) == [["a"], []]


def test_what_a_shard_may_cost_is_counted_in_each_of_its_workers() -> None:
    whole = config(sharded("a", 2), backend("b"), workers=2)
    after = limits.effective(whole, 12_000)
    assert all(limits.descriptors(owned) <= 12_000 for owned in limits.assign_workers(after))
    a, b = (each.clients.max_connections for each in after.backends)
    assert a == b < 10_000  # beside b there is no room for its 10,000, and a bound is a backend's
    assert limits.effective(after, 12_000) == after


SHARDS = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([1, 1, 1, 2, 3]), min_size=1)


@given(st.lists(SHARDS, min_size=1, max_size=6), st.integers(1, 5))
def test_assignments_are_stable_whatever_comes_and_goes(reloads: list[dict[str, int]], workers: int) -> None:
    live: list[list[str]] = []
    for wanted in reloads:
        before = homes(live)
        whole = config(*(sharded(name, shards) for name, shards in wanted.items()), workers=workers)
        live = names(limits.assign_workers(whole, live))
        after = homes(live)
        assert {name: len(where) for name, where in after.items()} == wanted
        for name in before.keys() & wanted:
            stay = min(len(before[name]), wanted[name])
            assert before[name][:stay] == sorted(set(before[name]) & set(after[name]))[:stay]
            assert len(set(before[name]) & set(after[name])) == stay
        assert len(live) <= max(workers, 3)
        # Somebody who came is nowhere with two more than elsewhere: each went where the fewest were.
        for name in wanted.keys() - before.keys() if set(wanted.values()) == {1} else ():
            loads = [len(owned) for owned in live]
            assert loads[after[name][0]] <= min(loads) + 1
        assert names(limits.assign_workers(whole, live)) == live  # and nothing moves by itself


def homes(workers: list[list[str]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for number, owned in enumerate(workers):
        for name in owned:
            found.setdefault(name, []).append(number)
    return found


def test_what_is_effective_is_judged_by_where_the_backends_live() -> None:
    big = {"max_connections": 15_000}
    whole = config(backend("a", **big), backend("b", **big), backend("c"), workers=2)
    assert len(limits.effective(whole, 20_000).backends) == 3
    with pytest.raises(ConfigError):
        limits.effective(whole, 20_000, live=[["a", "b"], ["c"]])
    one = limits.effective(config(backend("a"), workers=2), 20_000, live=[[], ["a"]])
    assert one.backends == (backend("a"),)


def test_one_backend_with_defaults_fits_in_twenty_thousand_descriptors() -> None:
    before = config(backend("a"))
    after = limits.effective(before, 20_000)
    assert after == before
    assert limits.lowered(before, after) == []
    # reserve + listening + upstream + clients + backlog
    assert limits.descriptors(list(after.backends)) == 64 + 2 + 8 + 10_000 + 1024


def test_three_dozen_backends_with_defaults_share_what_there_is() -> None:
    before = config(*(backend(f"b{n}") for n in range(36)))
    after = limits.effective(before, 20_000)
    assert {(b.clients.max_connections, b.clients.backlog) for b in after.backends} == {(493, 49)}
    assert limits.descriptors(list(after.backends)) <= 20_000
    told = limits.lowered(before, after)
    assert len(told) == 72
    assert str(told[0]).startswith("b0.toml: clients.max_connections = 493: lowered from the default 10000")


def test_what_is_written_is_kept_and_the_others_give_way() -> None:
    after = limits.effective(config(backend("a", max_connections=15_000), backend("b")), 20_000)
    a, b = after.backends
    assert a.clients.max_connections == 15_000
    assert limits.LEAST_CLIENTS < b.clients.max_connections < 5_000


def test_what_is_written_and_cannot_fit_is_refused_with_the_sum() -> None:
    odd = config(backend("a", listeners=2, max_connections=30_000, backlog=511), backend("b"))
    with pytest.raises(ConfigError) as caught:
        limits.effective(odd, 20_000)
    (problem,) = caught.value.problems
    assert problem.file == "a.toml"
    assert problem.rule == (
        "a worker needs 31125 descriptors of 20000: 64 reserve"
        " + a (4 listening + 8 upstream + 30000 clients + 1022 backlog)"
        " + b (2 listening + 8 upstream + 16 clients + 1 backlog)"
        "; raise LimitNOFILE (ulimit -Hn) or workers (now 1) or lower these"
    )
    assert 64 + 4 + 8 + 30_000 + 1022 + 2 + 8 + 16 + 1 == 31_125


def test_more_workers_make_room() -> None:
    two = (backend("a", max_connections=15_000), backend("b", max_connections=15_000))
    with pytest.raises(ConfigError):
        limits.effective(config(*two), 20_000)
    assert len(limits.effective(config(*two, workers=2), 20_000).backends) == 2


def test_every_worker_that_does_not_fit_is_told() -> None:
    two = (backend("a", max_connections=30_000), backend("b", max_connections=30_000))
    with pytest.raises(ConfigError) as caught:
        limits.effective(config(*two, workers=2), 20_000)
    assert [problem.file for problem in caught.value.problems] == ["a.toml", "b.toml"]


def test_a_worker_may_accept_until_the_next_burst_might_not_fit() -> None:
    owned = [backend("a", listeners=2, max_connections=500, backlog=100), backend("b", backlog=10)]
    room = limits.client_sockets(owned, 1000)
    assert room == 1000 - 64 - (4 + 8 + 200) - (2 + 8 + 10)
    assert limits.client_sockets(owned, 10) == 1


def test_effective_numbers_let_every_backend_have_all_its_clients() -> None:
    many = list(limits.effective(config(*(backend(f"b{n}") for n in range(36))), 20_000).backends)
    assert sum(b.clients.max_connections for b in many) <= limits.client_sockets(many, 20_000)


def test_the_sum_of_many_backends_names_the_largest() -> None:
    many = [backend(f"b{n}", upstream=n + 1) for n in range(20)]
    with pytest.raises(ConfigError) as caught:
        limits.effective(config(*many), 100)
    (problem,) = caught.value.problems
    assert problem.file == "b19.toml"
    assert "+ 12 smaller backends (" in problem.rule


def test_a_backend_in_one_line_says_where_it_listens_and_what_it_bounds() -> None:
    assert limits.describe(backend("a", listeners=2)) == (
        "a: 127.0.0.1:1, 127.0.0.1:2 to 10.0.0.5:80 (http): "
        "at most 8 upstream connections, 10000 clients, 1000 waiting"
    )


SPECS = st.tuples(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 500),
    st.fixed_dictionaries(
        {}, optional={"max_connections": st.integers(1, 20_000), "backlog": st.integers(1, 4096)}
    ),
)


@given(st.lists(SPECS, min_size=1, max_size=50), st.integers(1, 4), st.integers(0, 200_000))
def test_what_is_effective_fits_and_is_final(
    specs: list[tuple[int, int, int, dict[str, int]]], workers: int, nofile: int
) -> None:
    before = config(
        *(
            sharded(f"b{n}", shards, listeners=listeners, upstream=upstream, **written)
            for n, (shards, listeners, upstream, written) in enumerate(specs)
        ),
        workers=workers,
    )
    try:
        after = limits.effective(before, nofile)
    except ConfigError:
        return
    assert all(limits.descriptors(owned) <= nofile for owned in limits.assign_workers(after))
    assert limits.effective(after, nofile) == after
    for old, new in zip(before.backends, after.backends, strict=True):
        assert old.upstream == new.upstream
        for key in ("max_connections", "backlog"):
            was, now = getattr(old.clients, key), getattr(new.clients, key)
            assert 1 <= now <= was
            assert now == was or key in old.flexible


def test_every_number_of_a_backend_is_a_named_limit() -> None:
    named = limits.named(backend("web", upstream=7))
    assert named["upstream.max_connections"] == 7
    assert named["shards"] == 1
    assert named["clients.hold_timeout"] == 1.0
    assert named["http.max_head"] == 32 * 1024
    assert "clients.listen" not in named
    assert "http.max_upgraded" not in named  # not written: half of max_connections, shown as pinned_max


def test_numbers_inside_of_tables_are_named_and_secrets_are_none() -> None:
    redis = Redis(password="12345", batch=Batch(commands=3))
    named = limits.named(msgspec.structs.replace(backend("cache"), protocol="redis", redis=redis))
    assert named["redis.batch.commands"] == 3
    assert named["redis.batch.delay"] == 0.005
    assert named["redis.subscriber_buffer"] == 8 * 1024**2
    assert all(type(value) in (int, float) for value in named.values())
    assert not any("password" in key for key in named)
    dubbo = Dubbo(limits=(Limit("S", 10), Limit("S", 2, "m", timeout=0.5)))
    named = limits.named(msgspec.structs.replace(backend("orders"), protocol="dubbo", dubbo=dubbo))
    assert (named["dubbo.limits[1].actives"], named["dubbo.limits[2].timeout"]) == (10, 0.5)


def test_shards_keep_warm_together_what_is_written_and_all_else_is_lent() -> None:
    whole = models.backend(
        shards=3, clients__max_connections=100, upstream__max_connections=9, upstream__min_connections=4
    )
    now = models.config(whole)
    told = [mine[0] for mine in limits.shares(now, limits.assign_workers(now))]
    assert [part.clients.max_connections for part in told] == [100, 100, 100]
    assert [part.upstream.min_connections for part in told] == [2, 1, 1]
    assert {part.upstream.max_connections for part in told} == {9}
    alone = models.backend()
    assert limits.shares(now, [[alone]]) == [[alone]]


def test_what_one_destination_may_have_is_told_in_parts_that_add_up_to_what_is_written() -> None:
    whole = models.backend(
        shards=3,
        clients__max_connections=100,
        queue__max_waiting=7,
        upstream__to="host",
        upstream__servers=(),
        upstream__max_connections=9,
        upstream__max_connections_each=8,
        http__max_tunnels=4,
        http__routes=(Route("a", max_connections=4), Route("b", tls=True)),
    )
    now = models.config(whole)
    told = [mine[0] for mine in limits.shares(now, limits.assign_workers(now))]
    assert [part.clients.max_connections for part in told] == [100, 100, 100]
    assert [part.queue.max_waiting for part in told] == [7, 7, 7]
    assert [part.upstream.max_connections_each for part in told] == [3, 3, 2]
    assert [part.http.max_tunnels for part in told] == [4, 4, 4]
    assert [[route.max_connections for route in part.http.routes] for part in told] == [
        [2, None],
        [1, None],
        [1, None],
    ]
    assert limits.numbers(whole) == {
        limits.PLACES: 9,
        limits.CLIENTS: 100,
        limits.QUEUED: 7,
        limits.TUNNELS: 4,
    }


@pytest.mark.parametrize(
    ("protocol", "keys", "more"),
    [
        ("http", {"http__max_upgraded": 3}, {limits.PINNED: 3}),
        ("http", {}, {limits.PINNED: 4}),
        ("redis", {"upstream__max_pinned": 8}, {limits.PINNED: 7}),  # one stays with the many
        ("dubbo", {}, {}),
        (
            "dubbo",
            {"dubbo__limits": (Limit("S", 10), Limit("S", 2, "m"))},
            {limits.LIMITED: 5, "limited S.*": 10, "limited S.m": 2},
        ),
        ("tcp", {"tcp__reserve": 2}, {limits.COMMON: 6}),
    ],
)
def test_what_is_bounded_is_the_same_for_who_lends_and_for_who_has_it(
    protocol: str, keys: dict[str, Any], more: dict[str, int]
) -> None:
    made = models.backend(
        protocol=protocol,
        upstream__max_connections=8,
        queue__max_waiting=5,
        clients__max_connections=6,
        **keys,
    )
    lent = limits.numbers(made)
    assert lent == {limits.PLACES: 8, limits.CLIENTS: 6, limits.QUEUED: 5} | more
    world = FakeWorld()
    pool = new_pool(made, build(made), world, world.fine, world.slow)
    assert {key: pool.bounds[key] for key in lent if key != limits.PLACES} == {
        key: lent[key] for key in lent if key != limits.PLACES
    }
    assert set(lent) - {limits.PLACES} <= set(pool.rations)
