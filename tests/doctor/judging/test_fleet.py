"""N nodes against what a server takes."""

from __future__ import annotations

import pytest

from muxproxy.doctor.judging.fleet import Bound, Limit, configured, findings, lines, observed
from muxproxy.doctor.report import Level
from tests.doctor.judging.test_configured import config
from tests.doctor.made import facts, flow

CACHE = Bound("cache", "redis", 8, "cache.toml: upstream.max_connections")


@pytest.mark.parametrize(
    ("nodes", "level"),
    [(1000, Level.FINE), (1001, Level.WARNING), (1250, Level.WARNING), (1251, Level.WRONG)],
)
def test_the_sum_of_all_bounds_is_held_against_the_servers_limit(nodes: int, level: Level) -> None:
    (line,) = lines(nodes, [CACHE], {"cache": Limit(10_000, "CONFIG GET maxclients", 120)})
    assert line.level == level
    assert line.text.startswith(
        f"{nodes:,} nodes x 8 = {nodes * 8:,} connections of 10,000 that the server takes"
    )
    assert "; it has 120 now, from everybody" in line.text
    assert line.source == "cache.toml: upstream.max_connections; CONFIG GET maxclients"


def test_what_does_not_fit_is_a_finding_with_what_would() -> None:
    (finding,) = findings(lines(2000, [CACHE], {"cache": Limit(10_000, "--limit")}))
    assert (finding.level, finding.about) == (Level.WRONG, "fleet")
    assert finding.title.endswith(": at most 5 for each node")
    assert finding.type.startswith("muxproxy set cache max_connections=4 ")


def test_a_limit_that_nobody_knows_is_asked_for() -> None:
    (line,) = lines(40, [CACHE], {})
    assert line.text.endswith(
        "what the server takes is not known: give it, --limit cache=N (CONFIG GET maxclients)"
    )
    assert list(findings([line])) == []


def test_bounds_are_the_configurations_or_else_what_was_seen() -> None:
    assert [(bound.name, bound.number) for bound in configured(config(bound=12))] == [("cache", 12)]
    seen = observed(facts(flow(100, 7, open_most=9), flow(0, 2, source="10.0.0.2"), flow(5, host="10.0.0.6")))
    assert [(bound.name, bound.number) for bound in seen] == [("10.0.0.5:6379", 11)]


def test_of_what_nothing_bounds_the_cure_is_a_file() -> None:
    seen = observed(facts(flow(0, 900, open_most=900), flow(0, 5, host="10.0.0.6", port=5432)))
    redis, postgres = lines(20, seen, {"10.0.0.5:6379": Limit(10_000, "--limit")})
    (finding,) = findings([redis, postgres])
    assert finding.type == "muxproxy doctor --suggest 10.0.0.5:6379    # and no more than 400 on each node"
    assert "PostgreSQL: SHOW max_connections" in postgres.text
