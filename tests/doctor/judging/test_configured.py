"""A configuration against the machine."""

from __future__ import annotations

from pathlib import Path

import msgspec

from muxproxy.config.model import Backend, Clients, Config, Node, Upstream
from muxproxy.doctor.facts import Holder, Listener
from muxproxy.doctor.judging.configured import findings, served, wants
from muxproxy.doctor.report import Level
from tests.doctor.made import facts, flow


def config(*listen: str, bound: int = 8, servers: tuple[str, ...] = ("10.0.0.5:6379",)) -> Config:
    backend = Backend(
        name="cache",
        protocol="redis",
        clients=Clients(
            listen=listen or ("127.0.0.1:6380", "unix:/run/a.sock"), max_connections=500, backlog=600
        ),
        upstream=Upstream(servers=servers, max_connections=bound),
        file=str(Path("cache.toml")),
    )
    return Config(node=Node(), backends=(backend,))


def test_what_it_asks_of_the_kernel() -> None:
    asked = wants(config(), 20_000)
    assert (asked.ports, asked.backlog, asked.connections, asked.nofile) == (frozenset({6380}), 600, 508, "")
    assert "a worker needs " in wants(config(), 100).nofile


def test_where_it_serves_what() -> None:
    assert served(config()) == {"10.0.0.5:6379": "127.0.0.1:6380"}
    assert served(None) == {}


def test_who_goes_past_it_is_told_where_to_go() -> None:
    finding, *others = findings(facts(flow(3, 8)), config())
    assert others == []
    assert (finding.level, finding.about, finding.type) == (
        Level.WARNING,
        "past",
        "# point it at 127.0.0.1:6380",
    )
    assert finding.title.startswith("python3 app.py (pid 4711, user app) goes past muxproxy: 8 connections")


def test_muxproxys_own_connections_do_not_go_past_it() -> None:
    ours = (Holder(5, "python3 -m muxproxy.worker", "muxproxy", 8),)
    assert list(findings(facts(flow(0, 8, holders=ours)), config())) == []
    guess = (msgspec.structs.replace(ours[0], name="app", guess="names it"),)
    assert list(findings(facts(flow(0, 8, holders=guess)), config())) == []


def test_an_address_that_somebody_else_has_is_wrong() -> None:
    def held(name: str, host: str) -> Listener:
        return Listener(host, 6380, 0, 128, holders=(Holder(9, name, "x", 1),))

    finding, *_ = findings(facts(listeners=(held("redis-server", "0.0.0.0"),)), config())
    assert (finding.level, finding.about) == (Level.WRONG, "taken")
    assert "127.0.0.1:6380 is taken by redis-server (pid 9, user x)" in finding.title
    assert list(findings(facts(listeners=(held("redis-server", "10.0.0.1"),)), config())) == []
    assert list(findings(facts(listeners=(held("muxproxy", "127.0.0.1"),)), config())) == []


def test_a_bound_beyond_the_ports_there_are_is_wrong() -> None:
    small = facts(ip_local_port_range="20000 20099")
    assert [finding.about for finding in findings(small, config(bound=101))] == ["bound"]
    assert list(findings(small, config(bound=100))) == []
    assert list(findings(small, config(bound=200, servers=("10.0.0.5:6379", "10.0.0.6:6379")))) == []
