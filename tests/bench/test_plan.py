"""Which loads run on which proxies, and how long that takes."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import suites
from tests.bench.builds import Build
from tests.bench.plan import Task, UnknownNameError, plan

BUILDS = [Build("muxproxy", "python", "0.1.0", {"compiled": 0})]


def planned(*only: str, names: tuple[str, ...] = ()) -> list[Task]:
    return plan(suites(names, BUILDS, ()), only, 6000)


def test_all_suites_run_whole_unless_something_is_named():
    assert [task.suite.name for task in planned()] == [
        "http",
        "tls", "redis", "dubbo", "tcp", "latency of http", "latency of redis",
    ]  # a table  # fmt: skip
    assert {load.name for task in planned() for load in task.loads} >= {
        "distinct-close-64",
        "64-P16",
        "redis-16",
    }
    assert [task.idle for task in planned()] == [6000, 0, 0, 0, 0, 0, 0]


def test_who_names_a_load_has_only_the_suites_that_know_it():
    (task,) = planned("keep-64", "haproxy")
    assert [load.name for load in task.loads] == ["keep-64"]
    assert (task.names, task.proxies, task.idle) == (["haproxy"], ["haproxy"], 0)
    assert [one.suite.name for one in planned("64-small")] == ["dubbo", "tcp"]


def test_who_names_the_idle_clients_has_no_other_load():
    (task,) = planned("idle")
    assert (task.loads, task.idle) == ([], 6000)


def test_who_names_a_proxy_has_it_where_it_takes_part_and_all_elsewhere():
    http, redis = planned("twemproxy", names=("http", "redis"))
    assert http.names == ["muxproxy", "haproxy", "nginx", "direct"]
    assert redis.names == ["twemproxy"]


def test_a_name_that_is_unknown_is_told_with_those_that_are_known():
    with pytest.raises(UnknownNameError, match=r"^keep-65; known: .*keep-64"):
        planned("keep-65")


def test_a_run_takes_longer_with_more_rounds_loads_and_proxies():
    (one,) = planned("keep-64", names=("http",))
    (whole,) = planned(names=("http",))
    assert one.seconds(1, 3) < one.seconds(5, 3) < whole.seconds(5, 3) < whole.seconds(5, 6)


def test_another_proxy_takes_part_in_every_suite():
    found = suites(("redis", "tcp"), BUILDS, ("envoy=envoy -c x",))
    assert all("envoy" in one.contestants for one in found)
