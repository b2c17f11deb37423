"""What facts say of themselves: ports, reuse, addresses."""

from __future__ import annotations

import pytest

from muxproxy.doctor.facts import Ports, port_list
from tests.doctor.made import facts, flow


def test_reserved_ports_are_none_of_those_that_connect_takes() -> None:
    ports = Ports.read({"ip_local_port_range": "20000\t21999", "ip_local_reserved_ports": "8080,20000-20009"})
    assert ports.size == 1990
    assert (19999 in ports, 20009 in ports, 20010 in ports, 21999 in ports, 22000 in ports) == (
        False,
        False,
        True,
        True,
        False,
    )
    assert Ports.read({}).size == 28232  # Linux's own


def test_a_list_of_ports_is_read_as_the_kernel_writes_it() -> None:
    assert port_list("") == frozenset()
    assert port_list("80,8080-8082") == {80, 8080, 8081, 8082}


@pytest.mark.parametrize(
    ("reuse", "timestamps", "loopback", "others"),
    [
        ("0", "1", False, False),
        ("1", "1", True, True),
        ("2", "1", True, False),
        ("1", "0", False, False),
        ("1", "2", True, True),
    ],
)
def test_who_may_take_the_port_of_a_time_wait(
    reuse: str, timestamps: str, loopback: bool, others: bool
) -> None:
    may = facts(tcp_tw_reuse=reuse, tcp_timestamps=timestamps).may_reuse
    assert (may[True], may[False]) == (loopback, others)


def test_a_flow_is_on_loopback_with_both_of_its_ends() -> None:
    assert flow(source="127.0.0.1", host="127.0.0.9").is_loopback
    assert not flow(source="127.0.0.1", host="10.0.0.5").is_loopback
    assert flow(source="::1", host="::1").remote == "[::1]:6379"


def test_what_lives_is_all_but_time_waits() -> None:
    assert (flow(100, 7).live, flow(100, 7).time_wait) == (7, 100)
