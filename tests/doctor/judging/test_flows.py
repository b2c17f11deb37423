"""Ports that run out, churn, pools, silence: with numbers, on both sides of where each begins."""

from __future__ import annotations

import pytest

from muxproxy.doctor.facts import Facts, Flow, Holder, Listener
from muxproxy.doctor.judging.flows import UNIX, findings, use
from muxproxy.doctor.report import Finding, Level
from tests.doctor.made import facts, flow

SMALL = {"ip_local_port_range": "20000 21999", "tcp_tw_reuse": "0"}  # the second incident's


def found(told: Facts, served: dict[str, str] | None = None) -> list[Finding]:
    return list(findings(told, served or {}))


def only(told: Facts) -> Finding:
    (finding,) = found(told)
    return finding


def test_all_ports_taken_is_wrong_and_names_who_to_whom_and_what_he_gets() -> None:
    finding = only(facts(flow(1992, 8, timed=30.0, opened=31.0), **SMALL))
    assert (finding.level, finding.about, finding.remote) == (Level.WRONG, "ports", "10.0.0.5:6379")
    assert finding.title == (
        "python3 app.py (pid 4711, user app) opened and closed 1,992 connections within a minute to "
        "10.0.0.5:6379: 2,000 of 2,000 ephemeral ports are taken (100 %): "
        'connect() fails with "Cannot assign requested address"'
    )
    assert finding.type == "muxproxy doctor --suggest 10.0.0.5:6379"
    texts = [each.text for each in finding.evidence]
    assert "10.0.0.1 to 10.0.0.5:6379: TIME_WAIT 1,992, ESTABLISHED 8" in texts
    assert "1,992 / 60 s (TIME_WAIT) = 33 connects/s are all that is possible now" in texts
    assert "2,000 ports for each pair of addresses and port: 20000 to 21999" in texts
    assert all(each.source for each in finding.evidence)


def test_the_time_that_is_left_is_what_is_free_by_how_fast_it_goes() -> None:
    told = facts(flow(992, 8, timed=400.0, opened=410.0, growth=200.0), **SMALL)
    ports = use(told.flows[0], told)
    assert (ports.taken, ports.size, ports.settles, ports.seconds) == (1000, 2000, 8 + 400 * 60, 5.0)
    finding = only(told)
    assert finding.level == Level.WRONG
    assert finding.title.endswith(
        "opens and closes 400 connections/s to 10.0.0.5:6379: "
        "1,000 of 2,000 ephemeral ports are taken (50 %), and none is left in about 5 s at this rate"
    )
    assert "at this rate it settles at 8 open + 400/s x 60 s (TIME_WAIT) = 24,008 ports, 1200 % of them" in [
        each.text for each in finding.evidence
    ]


def test_where_the_kernel_may_reuse_them_only_young_time_waits_count() -> None:
    told = facts(flow(1900, 8, young=35, timed=30.0, growth=10.0), **{**SMALL, "tcp_tw_reuse": "1"})
    ports = use(told.flows[0], told)
    assert (ports.taken, ports.settles, ports.seconds) == (43, 38.0, None)
    assert found(told) == []
    told = facts(flow(1900, 8, young=35, timed=30.0), **{**SMALL, "tcp_tw_reuse": "2"})
    assert use(told.flows[0], told).taken == 1908  # it is not on loopback


def test_a_burst_of_a_second_is_a_warning_until_there_is_more_of_it() -> None:
    assert only(facts(flow(150, timed=150.0, growth=150.0), **SMALL)).level == Level.WARNING
    assert only(facts(flow(250, timed=150.0, growth=150.0), **SMALL)).level == Level.WRONG


@pytest.mark.parametrize(
    ("taken", "level"), [(1790, Level.WARNING), (1800, Level.WRONG), (1200, Level.WARNING)]
)
def test_nearly_full_is_wrong_and_filling_a_warning(taken: int, level: Level) -> None:
    assert only(facts(flow(0, taken, holders=()), **SMALL)).level == level


@pytest.mark.parametrize(
    ("growth", "level"), [(0.0, Level.WARNING), (1.0, Level.WARNING), (2.0, Level.WRONG)]
)
def test_a_pool_that_leaks_is_wrong_when_it_has_little_time_left(growth: float, level: Level) -> None:
    finding = only(facts(flow(0, 1200, growth=growth, holders=()), **SMALL))
    assert finding.level == level
    assert ("in about" in finding.title) == (growth > 0)


def test_few_ports_are_nobodys_business() -> None:
    assert found(facts(flow(1190, 5), **SMALL)) == []


def test_churn_that_leaves_ports_is_a_warning() -> None:
    finding = only(facts(flow(2990, 10, timed=51.0, opened=51.0)))
    assert (finding.level, finding.about) == (Level.WARNING, "churn")
    assert finding.title.startswith(
        "python3 app.py (pid 4711, user app) opens and closes 51 connections/s to "
    )
    assert found(facts(flow(2900, 10, timed=49.0))) == []


def test_a_pool_that_is_closed_or_filled_at_once_is_no_churn() -> None:
    assert found(facts(flow(2000, timed=1000.0, opened=0.0, growth=0.0))) == []
    assert found(facts(flow(0, 90, timed=0.0, opened=90.0, growth=90.0))) == []


def test_where_muxproxy_serves_the_remote_its_address_is_what_to_type() -> None:
    told = facts(flow(2990, 10, timed=51.0))
    assert found(told, {"10.0.0.5:6379": "127.0.0.1:6380"})[0].type.startswith(
        "# point the app at 127.0.0.1:6380"
    )


def test_towards_muxproxy_itself_a_unix_socket_is_the_cure_and_many_clients_are_what_it_is_for() -> None:
    worker = Listener("127.0.0.1", 6379, 0, 128, holders=(Holder(5, "python3 -m muxproxy.worker", "m"),))
    ends = {"source": "127.0.0.1", "host": "127.0.0.1"}
    (finding,) = found(facts(flow(2990, 10, timed=51.0, **ends), listeners=(worker,)))
    assert (finding.about, finding.type) == ("churn", UNIX)
    assert found(facts(flow(0, 900, **ends), listeners=(worker,))) == []
    told = facts(flow(1992, 8, **ends), **SMALL)
    assert found(told, {"10.0.0.5:6379": "127.0.0.1:6379"})[0].type == UNIX


# -- pools ------------------------------------------------------------------------------------------------


def pool(size: int, busy: int, name: str = "java -jar a.jar", pid: int = 7, **more: object) -> Flow:
    return flow(0, size, busy_most=busy, holders=(Holder(pid, name, "app", size),), **more)


@pytest.mark.parametrize(
    ("size", "busy", "level"),
    [
        (99, 1, None),
        (100, 25, Level.WARNING),
        (100, 26, None),
        (999, 9, Level.WARNING),
        (1000, 999, Level.WRONG),
    ],
)
def test_a_pool_is_too_large_for_what_it_does(size: int, busy: int, level: Level | None) -> None:
    assert [finding.level for finding in found(facts(pool(size, busy)))] == ([level] if level else [])


def test_a_pool_of_thousands_is_named_with_what_it_was_used_for() -> None:
    finding = only(facts(pool(3000, 37)))
    assert (finding.about, finding.level) == ("pool", Level.WRONG)
    assert finding.title == (
        "java -jar a.jar (pid 7, user app) has 3,000 connections to 10.0.0.5:6379; "
        "at most 37 waited for a reply at a time"
    )
    assert only(facts(pool(3000, 0))).title.endswith("; none was seen waiting for a reply")


def test_what_muxproxy_opens_has_a_bound_and_is_not_told() -> None:
    assert found(facts(pool(1500, 1, "python3 -m muxproxy.worker"))) == []


def test_thousands_to_many_hosts_are_one_finding() -> None:
    flows = [pool(600, 3, host=f"10.0.1.{number}") for number in range(10)]
    finding = only(facts(*flows))
    assert finding.title.startswith(
        "java -jar a.jar (pid 7, user app) has 6,000 connections to 10 remotes; at most 30 "
    )
    assert "and 6 more" in finding.evidence[0].text


def test_who_may_not_see_processes_is_told_the_user() -> None:
    finding = only(facts(flow(0, 2000, holders=(), users={"app": 2000})))
    assert finding.title.startswith("a process of user app has 2,000 connections to 10.0.0.5:6379; ")


# -- the network ------------------------------------------------------------------------------------------


def test_a_remote_that_answers_nobody_is_wrong_and_one_that_answers_most_a_warning() -> None:
    assert found(facts(flow(0, 10, unanswered=2))) == []
    assert only(facts(flow(0, 10, unanswered=3))).level == Level.WARNING
    finding = only(facts(flow(0, 10, unanswered=5)))
    assert (finding.about, finding.level) == ("unanswered", Level.WRONG)
    assert finding.title.startswith("10.0.0.5:6379 does not answer 5 of 10 connections of python3 app.py")


@pytest.mark.parametrize(
    ("again", "out", "levels"),
    [
        (19, 100, []),
        (20, 1001, []),
        (20, 1000, [Level.WARNING]),
        (99, 900, [Level.WARNING]),
        (100, 1000, [Level.WRONG]),
        (0, 0, []),
    ],
)
def test_lost_segments_are_told_by_their_share(again: int, out: int, levels: list[Level]) -> None:
    told = facts(flow(0, 5, retransmitted=4), growth={"Tcp.RetransSegs": again, "Tcp.OutSegs": out})
    assert [finding.level for finding in found(told)] == levels
