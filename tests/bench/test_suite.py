"""The order of rounds, and what becomes of a contestant that fails."""

from __future__ import annotations

import io

import pytest

from tests.bench import servers, suite
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
