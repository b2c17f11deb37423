"""What overflows: with numbers, on both sides of where it begins."""

from __future__ import annotations

import pytest

from muxproxy.doctor.facts import Facts, Holder, Listener, Process
from muxproxy.doctor.judging.queues import findings
from muxproxy.doctor.report import Finding, Level
from tests.doctor.made import facts

NGINX = Holder(80, "nginx", "www-data", 1)


def only(told: Facts) -> Finding:
    (finding,) = findings(told)
    return finding


def listener(queue: int, backlog: int = 128, **more: int) -> Listener:
    return Listener("0.0.0.0", 80, queue, backlog, holders=(NGINX,), **more)


def test_a_healthy_machine_has_none() -> None:
    told = facts(listeners=(listener(0), listener(63)), processes=(Process(1, "a", "b", 74, 100),))
    assert list(findings(told)) == []


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (listener(64), Level.WARNING),
        (listener(128), Level.WRONG),
        (listener(0, dropped=5), Level.WARNING),
        (listener(0, dropped=5, dropped_now=1), Level.WRONG),
    ],
)
def test_a_listen_queue_that_fills_and_one_that_overflows(found: Listener, level: Level) -> None:
    growth = {"TcpExt.ListenOverflows": found.dropped_now}
    finding = only(facts(listeners=(found,), growth=growth))
    assert (finding.level, finding.about) == (level, "queue")
    assert "nginx (pid 80, user www-data) does not accept fast enough at 0.0.0.0:80: " in finding.title
    assert "raise its own backlog, 128" in finding.type
    assert finding.evidence[0].source.endswith("ss -ltnm sport = :80")


def test_where_the_kernel_caps_it_the_cap_is_what_to_type() -> None:
    finding = only(facts(listeners=(listener(128),), somaxconn="128"))
    assert finding.type.startswith("sysctl -w net.core.somaxconn=4096 ")


def test_overflows_of_a_socket_that_has_gone_are_told_too() -> None:
    finding = only(facts(growth={"TcpExt.ListenOverflows": 7}))
    assert finding.title == "listen queues overflow: 7 connects dropped in 1.0 s"


@pytest.mark.parametrize(
    ("used", "levels"), [(749, []), (750, [Level.WARNING]), (899, [Level.WARNING]), (900, [Level.WRONG])]
)
def test_a_process_near_its_descriptor_limit(used: int, levels: list[Level]) -> None:
    told = facts(processes=(Process(7, "node app.js", "app", used, 1000),))
    assert [finding.level for finding in findings(told)] == levels
    for finding in findings(told):
        assert finding.type.startswith("prlimit --pid 7 --nofile=65536:65536 ")


def test_a_limit_that_could_not_be_read_is_none() -> None:
    assert list(findings(facts(processes=(Process(7, "a", "b", 10, 0),)))) == []


def test_a_machine_near_its_limit_of_files() -> None:
    assert only(facts(file_nr="900 0 1000", file_max="1000")).type == "sysctl -w fs.file-max=2000"


@pytest.mark.parametrize(("used", "levels"), [(749, []), (750, [Level.WARNING]), (900, [Level.WRONG])])
def test_a_firewalls_table_that_fills(used: int, levels: list[Level]) -> None:
    told = facts(nf_conntrack_count=str(used), nf_conntrack_max="1000")
    assert [finding.level for finding in findings(told)] == levels
    for finding in findings(told):
        assert finding.type == "sysctl -w net.netfilter.nf_conntrack_max=2000"


def test_syns_that_are_dropped_are_wrong_and_cookies_a_warning() -> None:
    assert only(facts(growth={"TcpExt.TCPReqQFullDoCookies": 3})).level == Level.WARNING
    finding = only(facts(growth={"TcpExt.TCPReqQFullDrop": 3}))
    assert (finding.level, finding.type) == (Level.WRONG, "sysctl -w net.ipv4.tcp_max_syn_backlog=4096")


def test_time_waits_that_are_dropped_are_a_warning() -> None:
    finding = only(facts(growth={"TcpExt.TCPTimeWaitOverflow": 3}, tcp_max_tw_buckets="200000"))
    assert (finding.level, finding.type) == (Level.WARNING, "sysctl -w net.ipv4.tcp_max_tw_buckets=400000")
