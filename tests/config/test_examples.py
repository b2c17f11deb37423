"""The files in config/ and systemd/ are what they say: accepted, no warning, showing the defaults."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from muxproxy.config import keys
from muxproxy.config.load import examine
from muxproxy.config.model import Clients, Http, Node, Queue, Upstream
from muxproxy.config.units import parse_duration

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config"


def test_the_example_is_accepted_without_a_warning() -> None:
    reading = examine(EXAMPLE)
    assert reading.problems == []
    assert reading.warnings == []
    assert reading.config is not None
    assert [backend.name for backend in reading.config.backends] == ["orders-api"]


def test_the_example_shows_the_defaults() -> None:
    config = examine(EXAMPLE).config
    assert config is not None
    (backend,) = config.backends
    assert config.node == Node(file=str(EXAMPLE / "muxproxy.toml"))
    assert backend.clients == Clients(listen=backend.clients.listen)
    assert backend.queue == Queue()
    assert backend.upstream == Upstream(servers=backend.upstream.servers)
    assert backend.http == Http()


@pytest.mark.parametrize("protocol", ["http"])
def test_the_example_names_every_key_that_has_an_effect(protocol: str) -> None:
    text = (EXAMPLE / "backends/orders-api.toml").read_text()
    named = set(re.findall(r"^#? ?([a-z_]+) = ", text, re.MULTILINE))
    known = {key for table in [*keys.TABLES.values(), keys.PROTOCOL_TABLES[protocol]] for key in table}
    assert known - named == {"max_in_flight", "max_pinned"}  # no effect with http
    assert named - known == {"protocol"}


@pytest.fixture
def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=True, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # directives are case-sensitive
    parser.read(ROOT / "systemd/muxproxy.service")
    return parser["Service"]


def test_the_unit_gives_a_drain_the_time_it_may_take(unit: configparser.SectionProxy) -> None:
    assert parse_duration(unit["TimeoutStopSec"]) > Node().drain_timeout
    assert unit["KillMode"] == "mixed"
    assert unit["Type"] == "notify"


def test_the_units_descriptor_limit_holds_dozens_of_backends_with_defaults(
    unit: configparser.SectionProxy,
) -> None:
    clients = Clients(listen=())
    assert int(unit["LimitNOFILE"]) > 50 * (clients.max_connections + clients.backlog)
