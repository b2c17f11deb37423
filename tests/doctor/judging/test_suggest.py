"""The file that would replace what was seen: it passes `check`, and its arithmetic is the one that it
tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from muxproxy.config.load import load
from muxproxy.config.model import Backend
from muxproxy.doctor.facts import Facts, Holder, Listener
from muxproxy.doctor.judging.suggest import backend_name, bounded, concurrency, guessed, remotes, suggest
from tests.doctor.made import facts, flow


def backend(told: Facts, remote: str, folder: Path) -> Backend:
    text = suggest(told, remote)
    path = folder / text.splitlines()[0].rpartition("/")[2]  # as it says that it is to be called
    path.write_text(text)
    (found,) = load(path).backends
    return found


@pytest.mark.parametrize(
    ("host", "port", "protocol"),
    [
        ("10.0.0.5", 6379, "redis"),
        ("10.0.0.5", 8080, "http"),
        ("fd00::5", 20880, "dubbo"),
        ("10.0.0.5", 5432, "tcp"),
    ],
)
def test_what_it_writes_passes_check_and_is_what_was_seen(
    tmp_path: Path, host: str, port: int, protocol: str
) -> None:
    one = flow(1800, 200, host=host, port=port, busy_most=150, busy_mean=90.0, opened=300.0, open_most=200)
    told = facts(one, listeners=(Listener("127.0.0.1", 9999, 0, 1),))
    found = backend(told, one.remote, tmp_path)
    assert (found.protocol, found.upstream.servers, found.clients.listen) == (
        protocol,
        (one.remote,),
        (f"127.0.0.1:{port}",),
    )
    bound = {"redis": 5, "dubbo": 5, "http": 300, "tcp": 400}[protocol]
    assert found.upstream.max_connections == bound


def test_its_arithmetic_is_littles_law_and_stands_beside_it() -> None:
    one = flow(1800, 200, busy_most=150, busy_mean=90.0, opened=300.0, sent=600.0)
    text = suggest(facts(one), one.remote)
    assert (
        "# Little's law, L = lambda W: connections waiting for a reply at a time, L = 90.0 on average" in text
    )
    assert "lambda = 900/s" in text
    assert "so each takes W = L / lambda = 90.0 / 900 s = 100.0 ms." in text
    assert (
        "# 150 x 2 for bursts, / 64 in flight on each = 5; at least 2, at most 16.\nmax_connections = 5\n"
        in text
    )
    assert 'protocol = "redis"  # A GUESS, from the port, 6379; nobody was asked' in text


def test_what_was_idle_gets_the_default_and_what_was_huge_the_most_that_helps() -> None:
    assert bounded(concurrency([flow(2000)], "redis"), "redis")[0] == 8
    assert bounded(concurrency([flow(busy_most=1)], "redis"), "redis")[0] == 2
    assert bounded(concurrency([flow(busy_most=5000)], "redis"), "redis")[0] == 16
    assert bounded(concurrency([flow(busy_most=5000)], "http"), "http")[0] == 10_000


@pytest.mark.parametrize("busy", [0, 3])
def test_of_short_lived_connections_those_that_were_open_count(busy: int) -> None:
    seen = concurrency([flow(opened=400.0, open_mean=8.0, open_most=20, busy_most=busy)], "http")
    assert (seen.rate, seen.mean, seen.most) == (400.0, 8.0, 20)
    kept = concurrency([flow(opened=400.0, open_mean=500.0, open_most=500, busy_most=busy)], "http")
    assert kept.most == (busy or 500)


def test_where_connections_were_too_short_to_be_seen_rates_are_said_to_be_at_least_that() -> None:
    """The bound is not touched: it is of how many were open at a time."""
    one = flow(0, 8, opened=400.0, open_mean=8.0, open_most=20, port=8080)
    assert "lambda = 400/s" in suggest(facts(one, growth={"Tcp.ActiveOpens": 410}), one.remote)
    text = suggest(facts(one, growth={"Tcp.ActiveOpens": 4000}), one.remote)
    assert "lambda = at least 400/s" in text
    assert "so each takes at most W = L / lambda = 8.0 / 400 s = 20.0 ms." in text
    assert "At least: connections came and went here" in text
    assert "max_connections = 40" in text


def test_of_what_was_answered_at_once_no_time_is_made_up() -> None:
    one = flow(0, 300, sent=150.0)
    text = suggest(facts(one), one.remote)
    assert "lambda = 150/s" in text
    assert "W = L / lambda" not in text


def test_where_nobody_knows_who_waits_those_that_were_open_count() -> None:
    seen = concurrency([flow(open_mean=8.0, open_most=20, busy_most=3)], "redis", "/proc/net/tcp")
    assert (seen.most, seen.source) == (20, "connects/s and ESTABLISHED of /proc/net/tcp")


def test_the_protocol_is_guessed_by_the_program_where_it_is_here() -> None:
    served = Listener("127.0.0.1", 9000, 0, 128, holders=(Holder(3, "valkey-server", "redis", 1),))
    one = flow(source="127.0.0.1", host="127.0.0.1", port=9000)
    assert guessed(one, facts(listeners=(served,))).protocol == "redis"
    assert guessed(one, facts()).protocol == "http"
    assert guessed(flow(port=443), facts()).protocol == "tcp"
    assert "PostgreSQL's" in guessed(flow(port=5432), facts()).reason


def test_it_listens_where_nobody_does(tmp_path: Path) -> None:
    here = flow(source="127.0.0.1", host="127.0.0.1")
    told = facts(here, listeners=(Listener("0.0.0.0", 6379, 0, 1), Listener("0.0.0.0", 6380, 0, 1)))
    assert backend(told, here.remote, tmp_path).clients.listen == ("127.0.0.1:6381",)


def test_of_a_churning_app_it_says_what_becomes_of_its_time_waits() -> None:
    churned = flow(500, 1)
    assert "sysctl -w net.ipv4.tcp_tw_reuse=2" in suggest(facts(churned, tcp_tw_reuse="0"), churned.remote)
    assert "TIME_WAITs here now" in suggest(facts(churned), churned.remote)
    assert "TIME_WAITs here now" not in suggest(facts(flow(0, 9)), churned.remote)


def test_flows_from_several_addresses_are_one_backend() -> None:
    both = facts(flow(0, 5, busy_most=40), flow(0, 5, source="10.0.0.2", busy_most=60))
    assert "# 100 x 2 for bursts" in suggest(both, "10.0.0.5:6379")


def test_nobody_gets_a_file_for_what_nobody_connects_to() -> None:
    told = facts(flow(5), flow(9, host="10.0.0.6"))
    with pytest.raises(KeyError):
        suggest(told, "10.0.0.7:6379")
    assert remotes(told) == ["10.0.0.6:6379", "10.0.0.5:6379"]


def test_names_are_ones_that_a_file_may_have() -> None:
    assert backend_name("redis", "[fd00::5]:6379") == "redis-fd00-5-6379"
