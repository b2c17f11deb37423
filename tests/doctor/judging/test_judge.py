"""The whole report: the worst first, and what could not be seen."""

from __future__ import annotations

from muxproxy.doctor.facts import Sight
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
        "3 processes with a network of their own: nsenter -t 99 -n muxproxy doctor",
        "500 of 500 connects of this second: closed by their server, or failed, between two looks "
        "(nstat -asz TcpActiveOpens counts them all)",
    ]
    hidepid = Sight(is_root=False, hidden=0, unowned=2)
    assert unseen(facts(sight=hidepid))[0].startswith("processes of other users, whose ")
    assert "came or went" in unseen(facts(sight=Sight(is_root=True, unowned=2)))[0]
