"""The first incident, small: coroutines x hosts direct, and muxproxy keeps its bound."""

from __future__ import annotations

from pathlib import Path

from muxproxy.config.load import examine
from muxproxy.incident.http import replay
from muxproxy.incident.http.replay import BOUND, HOSTS, SIZES, coroutines, problems
from muxproxy.incident.record import Sample
from muxproxy.incident.world import World
from tests.incident.performed import needs_namespaces, performed
from tests.system.process import needs


@needs("nginx")
@needs_namespaces
def test_direct_every_pool_is_established_and_muxproxy_needs_240(tmp_path: Path) -> None:
    record = performed("http", tmp_path)
    direct, through = record.legs
    assert direct.most("ESTABLISHED") == SIZES["small"].sockets == 600
    for leg in record.legs:
        assert leg.errors == {}
        assert leg.requests >= 600
    assert through.dialled == 600  # the client, unchanged
    assert 0 < through.most_open <= BOUND == 240
    assert 0 < through.most_at_servers <= BOUND
    assert any(fact.startswith("added: p50 ") for fact in through.facts)


def test_it_is_as_large_as_the_descriptor_limit_permits() -> None:
    assert coroutines("full", 100_000) * HOSTS == 19_980
    assert coroutines("full", 20_000) * HOSTS == 18_990
    assert coroutines("small", 20_000) * HOSTS == 600


def test_what_is_printed_passes_check(tmp_path: Path) -> None:
    path = tmp_path / "outbound.toml"
    path.write_text(replay.configuration("10.77.1.1", "127.0.0.1:3128", 18_990))
    assert examine(path).problems == []
    assert 'allow = ["10.77.1.0/24"]' in path.read_text()


def test_what_did_not_happen_is_a_problem() -> None:
    record = replay.recording("small", World(use_namespaces=False))
    direct, through = record.legs
    for leg, sockets in ((direct, 600), (through, 240)):
        leg.samples = [Sample(0.0, {"ESTABLISHED": sockets}, {"ESTABLISHED": sockets})]
        leg.requests = 100
    assert problems(record) == []
    direct.samples[0].client["ESTABLISHED"] = 300
    through.samples[0].client["SYN_SENT"] = 1
    through.errors = {"status 503": 1}
    assert [problem.partition(":")[0] for problem in problems(record)] == [
        "direct",
        "Through muxproxy",
        "through muxproxy",
    ]
