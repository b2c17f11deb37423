"""Rules of nftables from a configuration: whose connections are led where, and never muxproxy's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from muxproxy.config.destination.redirect import (
    CGROUP_RULE,
    RULE,
    Redirects,
    parse_cgroup,
    parse_place,
    removal,
)
from muxproxy.config.model import Backend, Clients, Upstream


def backend(*redirect: str, listen: tuple[str, ...] = ("127.0.0.1:15001",), **keys: Any) -> Backend:
    clients = Clients(listen=listen, redirect=redirect, **keys)
    return Backend(name="cache", protocol="redis", clients=clients, upstream=Upstream(to="original"))


def uid(name: str) -> int:
    return {"app": 1001, "batch": 1002}[name]


def rules(*backends: Backend) -> list[str]:
    lines = Redirects(backends, [999], uid).table().splitlines()
    return [line.strip() for line in lines if "redirect to" in line]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("6379", "tcp dport 6379"),
        ("7000-7010", "tcp dport 7000-7010"),
        ("10.0.0.0/8", "ip daddr 10.0.0.0/8 meta l4proto tcp"),
        ("10.0.0.5:80", "ip daddr 10.0.0.5/32 tcp dport 80"),
        ("10.0.0.0/8:80-90", "ip daddr 10.0.0.0/8 tcp dport 80-90"),
        ("fd00::/8", "ip6 daddr fd00::/8 meta l4proto tcp"),
        ("[fd00::/8]:80", "ip6 daddr fd00::/8 tcp dport 80"),
    ],
)
def test_where_an_app_connects_to_is_a_port_a_network_or_both(text: str, match: str) -> None:
    assert parse_place(text).match() == match


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "65536",
        "20-10",
        "10.0.0.1/8",
        "host:80",
        "10.0.0.0/8:",
        "[fd00::/8]:",
        "[10.0.0.0/8]:1",
        "a;b",
    ],
)
def test_anything_else_is_told_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match="ports and networks") as told:
        parse_place(text)
    assert RULE in str(told.value)


@pytest.mark.parametrize("text", ["", "/x", "x/", "a//b", "../x", 'x" accept', "a b"])
def test_a_cgroup_is_a_path_and_nothing_that_ends_a_string(text: str) -> None:
    parse_cgroup("system.slice/app@1.service")
    with pytest.raises(ValueError, match="a path below") as told:
        parse_cgroup(text)
    assert str(told.value) == CGROUP_RULE


def test_a_port_is_led_to_the_listener_of_each_family_but_not_what_stays_on_loopback() -> None:
    assert rules(backend("6379", listen=("127.0.0.1:15001", "[::1]:15002"))) == [
        'ip daddr != 127.0.0.0/8 tcp dport 6379 counter redirect to :15001 comment "cache"',
        'ip6 daddr != ::1 tcp dport 6379 counter redirect to :15002 comment "cache"',
    ]
    assert rules(backend("127.0.0.0/8:6379")) == [
        'ip daddr 127.0.0.0/8 tcp dport 6379 counter redirect to :15001 comment "cache"'
    ]


def test_of_users_and_of_cgroups_each() -> None:
    both = backend("10.0.0.0/8", redirect_users=("app", "batch"), redirect_cgroups=("a.slice/b.service",))
    assert rules(both) == [
        "meta skuid { 1001, 1002 } ip daddr 10.0.0.0/8 meta l4proto tcp counter redirect to :15001 "
        'comment "cache"',
        'socket cgroupv2 level 2 "a.slice/b.service" ip daddr 10.0.0.0/8 meta l4proto tcp counter '
        'redirect to :15001 comment "cache"',
    ]


def test_a_cgroup_below_unified_is_where_version_2_is_beside_version_1() -> None:
    """Seen: at level 3 the rule matches nothing, at level 2 what is in a.slice/b.service."""
    both = backend("80", redirect_cgroups=("unified/a.slice/b.service",))
    assert 'socket cgroupv2 level 2 "unified/a.slice/b.service" tcp dport 80' in rules(both)[0]


def test_what_muxproxy_itself_connects_to_is_let_alone_before_all_else() -> None:
    table = Redirects([backend("6379")], [999, 999, 3], uid).table().splitlines()
    assert table[3].strip().startswith("meta skuid { 3, 999 } counter return")


def test_the_script_replaces_what_was_there_and_the_removal_needs_nothing() -> None:
    wanted = Redirects([backend("6379")], [999], uid)
    assert wanted.script() == removal() + wanted.table()
    assert removal() == "table inet muxproxy\ndelete table inet muxproxy\n"
    assert not Redirects([backend()], [999], uid)


def listed(wanted: Redirects, *, hook: str = "output", rules: int = 2, mark: str = "") -> str:
    chain = {"chain": {"type": "nat", "hook": hook}}
    first = {"rule": {"comment": mark or wanted.mark()}}
    return json.dumps({"nftables": [chain, first, *([{"rule": {"comment": "cache"}}] * (rules - 1))]})


def test_rules_are_in_place_if_they_are_those_of_these_files() -> None:
    wanted = Redirects([backend("6379")], [999], uid)
    assert wanted.problem(listed(wanted)) == ""
    other = Redirects([replace(backend("6379"), name="other")], [999], uid)
    assert "other rules" in wanted.problem(listed(other))
    assert "other rules" in wanted.problem(listed(wanted, rules=3))
    assert "no chain" in wanted.problem(listed(wanted, hook="input"))
    assert "nobody can read" in wanted.problem("?")
