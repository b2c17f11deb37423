"""Kernel settings: each is fine by itself, and wrong where something that was seen is wrong because of it."""

from __future__ import annotations

import pytest

from muxproxy.doctor.facts import Facts, Listener, Ports
from muxproxy.doctor.judging.kernel import Wants, findings, ranges, settings
from muxproxy.doctor.report import Level, Setting
from tests.doctor.made import facts, flow

NOFILE = (1024, 20000)
FULL = flow(1995, 5)  # of the second incident's ports
SMALL = {"ip_local_port_range": "20000 21999"}


def judged(told: Facts, wants: Wants | None = None) -> dict[str, Setting]:
    return {each.name: each for each in settings(told, wants or Wants(), NOFILE)}


def test_every_setting_is_told_with_value_reason_and_source_and_on_a_healthy_machine_all_are_fine() -> None:
    found = judged(facts(flow(100, 10)))
    assert list(found) == [
        "ip_local_port_range",
        "ip_local_reserved_ports",
        "tcp_tw_reuse",
        "tcp_timestamps",
        "somaxconn",
        "tcp_max_syn_backlog",
        "nofile",
        "nf_conntrack_max",
    ]
    assert all(each.reason and each.source and not each.type for each in found.values())
    assert {each.level for each in found.values()} == {Level.FINE}
    assert found["tcp_tw_reuse"].value == "2"
    assert found["nofile"].value == "1024 20000"
    assert list(findings(list(found.values()))) == []


def test_in_the_second_incident_the_range_and_tcp_tw_reuse_are_wrong() -> None:
    found = judged(facts(FULL, tcp_tw_reuse="0", **SMALL))
    wrong = {name: each.type for name, each in found.items() if each.level == Level.WRONG}
    assert wrong == {
        "ip_local_port_range": 'sysctl -w net.ipv4.ip_local_port_range="10240 65535"',
        "tcp_tw_reuse": "sysctl -w net.ipv4.tcp_tw_reuse=1",
    }
    told = list(findings(list(found.values())))
    assert [finding.about for finding in told] == ["setting", "setting"]
    assert told[0].title.startswith(
        "ip_local_port_range is 20000 21999: only 2,000 ports for each source address"
    )
    assert "(10.0.0.5:6379 1,995)" in told[1].title


def test_a_wider_range_reserves_what_servers_listen_on_in_the_same_breath() -> None:
    served = tuple(Listener("0.0.0.0", port, 0, 128) for port in (80, 11211, 15672, 15673, 20500))
    line = judged(facts(FULL, listeners=served, **SMALL), Wants(ports=frozenset({30000})))[
        "ip_local_port_range"
    ].type
    reserved, _, widened = line.partition(" && ")
    assert reserved == 'sysctl -w net.ipv4.ip_local_reserved_ports="11211,15672-15673,30000"'
    assert widened == 'sysctl -w net.ipv4.ip_local_port_range="10240 65535"'
    assert (
        Ports.read({"ip_local_port_range": "10240 65535", "ip_local_reserved_ports": "11211,15672"}).size
        == 55294
    )


def test_a_range_that_is_wide_already_is_not_to_blame() -> None:
    wide = {"ip_local_port_range": "10240 65535", "tcp_tw_reuse": "0"}
    found = judged(facts(flow(55290, 6), **wide))
    assert (found["ip_local_port_range"].level, found["tcp_tw_reuse"].level) == (Level.FINE, Level.WRONG)


def test_a_narrow_range_is_a_warning_before_anything_happens() -> None:
    assert judged(facts(**SMALL))["ip_local_port_range"].level == Level.WARNING


@pytest.mark.parametrize(
    ("value", "host", "line"),
    [
        ("0", "10.0.0.5", "sysctl -w net.ipv4.tcp_tw_reuse=1"),
        ("2", "10.0.0.5", "sysctl -w net.ipv4.tcp_tw_reuse=1"),
        ("0", "127.0.0.5", "sysctl -w net.ipv4.tcp_tw_reuse=2"),
        ("1", "10.0.0.5", ""),
    ],
)
def test_tcp_tw_reuse_is_wrong_where_it_would_have_helped(value: str, host: str, line: str) -> None:
    source = "127.0.0.1" if host.startswith("127") else "10.0.0.1"
    told = facts(flow(1995, 5, source=source, host=host, young=1990), tcp_tw_reuse=value, **SMALL)
    assert judged(told)["tcp_tw_reuse"].type == line


def test_tcp_tw_reuse_is_not_to_blame_where_connections_are_open() -> None:
    assert judged(facts(flow(100, 1900), tcp_tw_reuse="0", **SMALL))["tcp_tw_reuse"].level == Level.FINE


def test_without_timestamps_nothing_is_reused() -> None:
    assert judged(facts(tcp_timestamps="0"))["tcp_timestamps"].level == Level.WARNING
    found = judged(facts(FULL, tcp_timestamps="0", **SMALL))["tcp_timestamps"]
    assert (found.level, found.type) == (Level.WRONG, "sysctl -w net.ipv4.tcp_timestamps=1")


def test_ports_that_the_configuration_listens_on_want_to_be_reserved() -> None:
    wants = Wants(ports=frozenset({6380, 40001, 40002}))
    found = judged(facts(ip_local_reserved_ports="8080"), wants)["ip_local_reserved_ports"]
    assert found.level == Level.WARNING
    assert found.type == 'sysctl -w net.ipv4.ip_local_reserved_ports="8080,40001-40002"'
    reserved = facts(ip_local_reserved_ports="8080,40001-40002")
    assert judged(reserved, wants)["ip_local_reserved_ports"].level == Level.FINE


def test_somaxconn_is_held_against_what_is_asked_of_listen_and_what_overflows() -> None:
    assert judged(facts(somaxconn="128"))["somaxconn"].level == Level.FINE
    found = judged(facts(somaxconn="128"), Wants(backlog=1024))["somaxconn"]
    assert (found.level, found.type) == (Level.WARNING, "sysctl -w net.core.somaxconn=4096")
    full = Listener("0.0.0.0", 80, 128, 128, dropped=3, dropped_now=3)
    assert judged(facts(listeners=(full,), somaxconn="128"))["somaxconn"].level == Level.WRONG


def test_tcp_max_syn_backlog_matters_without_cookies() -> None:
    assert (
        judged(facts(tcp_max_syn_backlog="128"), Wants(backlog=1024))["tcp_max_syn_backlog"].level
        == Level.FINE
    )
    without = facts(tcp_max_syn_backlog="128", tcp_syncookies="0")
    assert judged(without, Wants(backlog=1024))["tcp_max_syn_backlog"].level == Level.WARNING


def test_descriptors_are_the_configurations_own_sum() -> None:
    assert judged(facts(), Wants(nofile="a worker needs 30000 of 20000"))["nofile"].level == Level.WARNING


def test_the_firewalls_table_must_hold_what_the_configuration_allows() -> None:
    assert judged(facts(), Wants(connections=262_000))["nf_conntrack_max"].level == Level.FINE
    found = judged(facts(), Wants(connections=262_100))["nf_conntrack_max"]
    assert found.level == Level.WARNING
    assert found.type == "sysctl -w net.netfilter.nf_conntrack_max=1048576"  # up from 2 x 262,200
    absent = judged(facts(nf_conntrack_max=""))["nf_conntrack_max"]
    assert (absent.value, absent.level) == ("", Level.FINE)


def test_ranges_are_written_as_the_kernel_reads_them() -> None:
    assert ranges({9000, 8080, 9001, 9002, 80}) == "80,8080,9000-9002"
