"""The order of rounds, and what becomes of a contestant that fails."""

from __future__ import annotations

import io
from contextlib import ExitStack

import pytest

from muxproxy.config.load import load
from tests.bench import builds, servers, suite
from tests.bench.measure import Figures, Load, LoadError
from tests.bench.progress import Progress
from tests.bench.servers import Server
from tests.bench.suite import Suite


class OnPaper(Suite):
    """Nothing is started; `haproxy` fails from its second round on."""

    name = "paper"

    class stage:  # noqa: N801 - stands for an object
        proxy_core = 0

    def __init__(self) -> None:
        self.ran: list[tuple[str, float]] = []

    def start(self, name: str) -> Server | None:
        return None

    def start_origin(self) -> None: ...

    def probe(self, address: str) -> str:
        return ""

    def run(self, load: Load, name: str, server: Server | None, seconds: float) -> Figures:
        self.ran.append((name, seconds))
        if name == "haproxy" and self.ran.count((name, 3)) == 2:
            raise LoadError("it refused")
        return Figures(1, 1.0, 1.0, 1.0, 0, 0.0, 0)


def test_rounds_take_turns_and_who_fails_is_left_out_of_those_to_come():
    paper = OnPaper()
    load = Load("x", "x", 1)
    ours, failed = suite.measure_loads(
        paper, [load], ["muxproxy", "haproxy"], 3, 3, Progress(0, io.StringIO())
    )
    assert paper.ran == [
        ("muxproxy", 1), ("haproxy", 1),  # warming up
        ("muxproxy", 3), ("haproxy", 3),
        ("muxproxy", 3), ("haproxy", 3),
        ("muxproxy", 3),
    ]  # a table  # fmt: skip
    assert (len(ours.rounds), ours.failed) == (3, "")
    assert failed.failed == "it refused"


def test_a_version_is_found_in_what_a_program_says_of_itself():
    assert servers.version_in("HAProxy version 2.6.12-1+deb12u4 2026/10/17") == "2.6.12"
    assert servers.version_in("none") == "?"


def test_a_server_that_ends_at_once_is_told_with_the_end_of_its_log(tmp_path):
    server = servers.Server("echo", "127.0.0.1:1", ["echo", "no such file"], 0, tmp_path)
    with pytest.raises(servers.StartError, match="no such file"):
        server.wait_ready(lambda _address: "nobody there")


def test_a_backend_with_shards_is_configured_as_muxproxy_reads_it(tmp_path):
    build = builds.Build("muxproxy", "python", "1", {})
    servers.sharded(servers.muxproxy(build, "http", max_connections=8), 2)(tmp_path, "127.0.0.1:81", 80)
    config = load(tmp_path)
    assert (config.node.workers, config.backends[0].shards) == (2, 2)


def test_shards_have_cores_of_their_own_if_one_is_left_for_the_load(monkeypatch):
    monkeypatch.setattr(suite.os, "sched_setaffinity", lambda *of: None)
    for cores, expected in (({0, 1}, ("0", 1)), ({0, 1, 2, 5}, ("0,1", 2))):
        monkeypatch.setattr(suite.os, "sched_getaffinity", lambda of, cores=cores: cores)
        with ExitStack() as stack:
            stage = suite.Stage(stack, 2)
            assert (stage.cores(2), stage.load_core) == expected
            assert stage.cores(1) == "0"
