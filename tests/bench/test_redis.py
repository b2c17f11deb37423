"""What is read from redis-benchmark and redis-server, and which part of a run counts."""

from __future__ import annotations

import pytest

from tests.bench import redis
from tests.bench.measure import LoadError
from tests.bench.redis import Load, Sample, Told

CSV = """"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p99_latency_ms","max"
"SET key:__rand_int__ v","87108.02","0.386","0.096","0.375","0.767","2.351"
"""


@pytest.mark.parametrize("before", ["", "WARNING: Could not fetch server CONFIG\n"])
def test_redis_benchmark_is_read_from_its_csv_whatever_it_warns_of(before):
    assert redis.parse_benchmark(before + CSV) == Told(87108.02, 375.0, 767.0)


def test_a_head_without_figures_is_an_error():
    with pytest.raises(LoadError, match="no figures"):
        redis.parse_benchmark(CSV.splitlines()[0])


def test_calls_are_those_of_that_very_command():
    text = (
        "# Commandstats\r\ncmdstat_getset:calls=9,usec=1\r\ncmdstat_get:calls=4,usec=8,rejected_calls=0\r\n"
    )
    assert redis.parse_calls(text, "get") == 4
    assert redis.parse_calls(text, "set") == 0


def test_a_process_is_asked_for_whole_pipelines_and_for_enough_that_every_client_has_its_share():
    assert redis.commands_each(Load("x", "x", 64, pipeline=16), 100_031) == 50_000
    assert redis.commands_each(Load("x", "x", 2000), 1) == 10_000


def samples(*counts: tuple[int, int]) -> list[Sample]:
    return [Sample(float(at), gets, sets, 0.0, 0.0) for at, (gets, sets) in enumerate(counts)]


def test_what_counts_is_between_the_first_growth_of_both_and_the_last_but_one():
    first, last = redis.window(
        samples((0, 0), (0, 0), (5, 0), (9, 3), (15, 9), (21, 15), (27, 20), (30, 21), (30, 30), (30, 30))
    )
    assert (first.at, last.at) == (3.0, 6.0)


def test_a_run_too_short_for_a_middle_counts_as_a_whole():
    first, last = redis.window(samples((0, 0), (9, 9), (20, 20)))
    assert (first.at, last.at) == (0.0, 2.0)


def test_a_command_is_encoded_as_an_array_of_bulk_strings():
    assert redis.encode("GET", "key") == b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"


def test_half_of_the_clients_do_each_kind_on_the_socket_that_the_contestant_has():
    load = Load("x", "x", 64, pipeline=16)
    tcp = redis.benchmark_command(load, "get", "127.0.0.1:99", 160)
    unix = redis.benchmark_command(load, "set", "unix:/tmp/x.sock", 160)
    assert tcp[:5] == ["redis-benchmark", "-p", "99", "-c", "32"]
    assert unix[:5] == ["redis-benchmark", "-s", "/tmp/x.sock", "-c", "32"]
