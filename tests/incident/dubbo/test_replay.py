"""The third incident, small: direct each connection is opened, and muxproxy keeps its bound."""

from __future__ import annotations

from pathlib import Path

from muxproxy.config.load import examine
from muxproxy.incident.dubbo import replay
from muxproxy.incident.dubbo.replay import BOUND, SIZES, connections, problems
from muxproxy.incident.record import Sample
from muxproxy.incident.world import World
from tests.incident.performed import needs_namespaces, performed


@needs_namespaces
def test_direct_opens_every_connection_and_muxproxy_needs_eight(tmp_path: Path) -> None:
    record = performed("dubbo", tmp_path)
    direct, cured, through = record.legs
    total = SIZES["small"][0] * 10 * 2
    assert direct.most_at_servers == direct.most_open == total == direct.dialled == through.dialled
    assert cured.most_at_servers == 200
    assert 0 < through.most_open <= BOUND == 8
    assert 0 < through.most_at_servers <= BOUND
    for leg in record.legs:
        assert leg.errors == {}
        assert leg.requests > 100
        assert leg.ready
        assert leg.server_memory


def test_it_is_as_large_as_the_descriptor_limit_permits() -> None:
    assert connections("full", 20_000) == 1000
    assert connections("full", 1024) == 81
    assert connections("small", 20_000) == 50


def test_both_backends_pass_check_and_keep_to_eight_together(tmp_path: Path) -> None:
    servers, listen = ["10.77.1.1:20880", "10.77.1.2:20880"], ["127.0.0.1:20881", "127.0.0.1:20882"]
    backends = replay.configuration(servers, listen, 10_000)
    for name, text in backends.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        assert examine(path).problems == []
        assert f"# /etc/muxproxy/backends/{name}.toml" in text
    assert len(backends) * replay.EACH == BOUND


def test_what_did_not_happen_is_a_problem() -> None:
    record = replay.recording("small", World(use_namespaces=False))
    for leg, sockets in zip(record.legs, (1000, 200, 8), strict=True):
        leg.samples = [Sample(0.0, {"ESTABLISHED": sockets}, {"ESTABLISHED": sockets})]
        leg.requests, leg.ready, leg.dialled = 100, 1.0, 1000
    assert problems(record) == []
    direct, cured, through = record.legs
    direct.samples[0].server["ESTABLISHED"] = 999
    cured.errors = {"status 100": 1}
    through.samples[0].client["SYN_SENT"] = 1
    assert [problem.partition(":")[0] for problem in problems(record)] == [
        "direct",
        "Direct, cured",
        "through muxproxy",
    ]
