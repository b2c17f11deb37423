"""The whole report: the worst first, and what could not be seen."""

from __future__ import annotations

import msgspec

from muxproxy.doctor.facts import Holder, Listener, Sight
from muxproxy.doctor.judging.fleet import Limit
from muxproxy.doctor.judging.judge import Question, judge, unseen
from muxproxy.doctor.report import Level
from tests.doctor.judging.test_configured import config
from tests.doctor.made import facts, flow

ASKED = Question((1024, 20000))


def test_a_healthy_machine_is_fine() -> None:
    report = judge(facts(flow(20, 8)), ASKED)
    assert (report.verdict, report.findings, report.unseen) == (Level.FINE, (), ())


def test_the_worst_is_first_and_settings_follow_what_they_let_happen() -> None:
    small = {"ip_local_port_range": "20000 21999", "tcp_tw_reuse": "0"}
    told = facts(flow(1300, 0, host="10.0.0.6"), flow(1995, 5), flow(1850, 0, host="10.0.0.7"), **small)
    report = judge(told, ASKED)
    assert report.verdict == Level.WRONG
    assert [(each.level, each.about, each.remote) for each in report.findings] == [
        (Level.WRONG, "ports", "10.0.0.5:6379"),
        (Level.WRONG, "ports", "10.0.0.7:6379"),
        (Level.WRONG, "setting", ""),
        (Level.WRONG, "setting", ""),
        (Level.WARNING, "ports", "10.0.0.6:6379"),
    ]
    assert [flow.host for flow in report.flows] == ["10.0.0.5", "10.0.0.7", "10.0.0.6"]


def test_a_configuration_and_a_fleet_are_judged_where_they_are_given() -> None:
    report = judge(facts(), Question((1024, 20000), config(), 2000, {"cache": Limit(10_000, "--limit")}))
    assert [(each.level, each.about) for each in report.findings] == [(Level.WRONG, "fleet")]
    assert report.fleet[0].limit == 10_000
    assert judge(facts(), Question((1024, 20000), config())).fleet == ()


def test_what_was_not_seen_is_told_with_how_to_see_it() -> None:
    sight = Sight(is_root=False, hidden=30, unowned=400, namespaces={99: 3})
    told = unseen(facts(sight=sight, growth={"Tcp.ActiveOpens": 500}))
    assert told == [
        "30 processes of other users, whose /proc/PID/fd is theirs alone: "
        "root would name the processes of 400 sockets more: sudo muxproxy doctor",
        "3 processes with a network of their own (a container's): sudo nsenter -t 99 -n muxproxy doctor",
        "500 of 500 connects of this second: closed by their server, or failed, between two looks "
        "(nstat -asz TcpActiveOpens counts them all)",
    ]
    many = unseen(facts(sight=Sight(is_root=True, namespaces={pid: pid for pid in range(10, 30)})))
    assert [line.split(" ")[0] for line in many] == ["29", "28", "27", "26", "16"]
    assert many[-1] == "16 more networks with fewer processes: lsns -t net"
    hidepid = Sight(is_root=False, hidden=0, unowned=2)
    assert unseen(facts(sight=hidepid))[0].startswith("processes of other users, whose ")
    assert "came or went" in unseen(facts(sight=Sight(is_root=True, unowned=2)))[0]
    assert "whose short connections" in unseen(facts(sight=Sight(is_root=False, hidden=3)))[0]
    assert unseen(facts(sight=Sight(is_root=True, hidden=3))) == []
    assert "CAP_SYS_PTRACE" in unseen(facts(sight=Sight(is_root=True, hidden=3, unowned=2)))[0]


def test_what_an_ordinary_user_is_to_type_says_who_may() -> None:
    small = {"ip_local_port_range": "20000 21999", "tcp_tw_reuse": "0"}
    served = (Listener("0.0.0.0", 11211, 0, 128),)
    told = facts(flow(1995, 5), listeners=served, sight=Sight(is_root=False), **small)
    report = judge(told, ASKED)
    lines = [each.type for each in report.findings]
    assert lines == [
        "muxproxy doctor --suggest 10.0.0.5:6379",
        'sudo sysctl -w net.ipv4.ip_local_reserved_ports="11211" && '
        'sudo sysctl -w net.ipv4.ip_local_port_range="10240 65535"',
        "sudo sysctl -w net.ipv4.tcp_tw_reuse=1",
    ]
    assert [each.type for each in report.settings if each.type] == lines[1:]


def test_where_proc_net_tcp_told_of_sockets_no_source_says_sock_diag_and_nobody_is_said_to_wait() -> None:
    sight = Sight(is_root=True, by="/proc/net/tcp", refused="Operation not permitted")
    pools = (flow(0, 150), flow(1995, 5, host="10.0.0.6"), flow(0, 5500, host="10.0.0.7"))
    holders = (Holder(1, "a", "b", 150), Holder(2, "a", "b", 5), Holder(3, "a", "b", 5500))
    flows = [msgspec.structs.replace(at, holders=(who,)) for at, who in zip(pools, holders, strict=True)]
    report = judge(facts(*flows, sight=sight, ip_local_port_range="20000 21999"), ASKED)
    assert {each.about for each in report.findings} == {"ports", "pool", "setting"}
    told = str(msgspec.to_builtins(report.findings))
    assert "/proc/net/tcp: ss -tan" in told
    assert "sock_diag" not in told
    assert "waited" not in told
    assert "10.0.0.5" not in told  # 150 connections: of what use they are is not known
    assert report.unseen[0].startswith("who waits for a reply, ")
    assert "sock_diag is refused here (Operation not permitted)" in report.unseen[0]


def test_what_a_sandbox_hides_is_told_and_nothing_is_typed_for_it() -> None:
    told = msgspec.structs.replace(facts(flow(28_000, 8)), settings={}, counters={})
    report = judge(told, ASKED)
    (full,) = report.findings
    assert (full.level, full.about) == (Level.WRONG, "ports")
    assert full.evidence[-1].source.startswith(
        "ASSUMED, /proc/sys/net/ipv4/ip_local_port_range cannot be read"
    )
    for each in report.settings:
        assert (each.level, each.type) == (Level.FINE, "")
        assert each.name == "nofile" or (each.value, each.reason[:19]) == ("", "cannot be read here")
    assert [line.partition(":")[0] for line in report.unseen] == [
        "the kernel's ip_local_port_range, tcp_tw_reuse, tcp_timestamps, somaxconn and 1 more",
        "segments that are sent again, and overflows",
    ]
