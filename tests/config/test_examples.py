"""The files in config/ and systemd/ are what they say: accepted, no warning, showing the defaults."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest

from muxproxy.config import keys
from muxproxy.config.load import examine
from muxproxy.config.model import (
    EVERYWHERE,
    PATIENCE,
    Clients,
    Dubbo,
    Http,
    Node,
    Queue,
    Redis,
    Tcp,
    Upstream,
)
from muxproxy.config.units import parse_duration
from tests.certificates import made

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config"


# Example -> its protocol, and the keys that have no effect with it.
EXCHANGES = {"abandoned_bytes", "abandoned_timeout"}  # replies that go to one client after the other
LED = {"redirect", "redirect_users", "redirect_cgroups", "transparent"}  # by the kernel
DESTINATIONS = {"allow", "deny", "max_connections_each", "max_destinations"}  # which servers have none of
HOSTS = {"max_tunnels", *keys.PROTOCOL_TABLES["http"]["routes"].table}
SHARED = {"hold_rate", "max_in_flight", "max_pinned", "suspect_after"}  # connections
REQUESTS = {"head_timeout", "hold_timeout", "min_rate", "pipeline_buffer", "reply_timeout"}
PLENTY = {"outbound": 64, "session-cluster": 24}
EXAMPLES = {
    "ledger-db": ("tcp", EXCHANGES | REQUESTS | SHARED | DESTINATIONS | LED),
    "orders-api": ("http", SHARED | DESTINATIONS | LED | HOSTS - {"servers", "max_connections", "tls"}),
    "orders-dubbo": ("dubbo", EXCHANGES | {"max_pinned"} | DESTINATIONS | LED),
    "outbound": ("http", SHARED | LED),
    "session-cache": ("redis", EXCHANGES | LED | DESTINATIONS - {"allow", "deny"}),  # [redis] has its own
    "session-cluster": ("redis", EXCHANGES | {"servers"}),
}


def test_the_examples_are_accepted_and_one_warning_says_what_tcp_does_not_do() -> None:
    reading = examine(EXAMPLE)
    assert reading.problems == []
    (warning,) = [warning for warning in reading.warnings if warning.key]  # others: whose checkout this is
    assert (Path(warning.file).name, warning.key) == ("ledger-db.toml", "protocol")
    assert reading.config is not None
    assert {backend.name: backend.protocol for backend in reading.config.backends} == {
        name: protocol for name, (protocol, _) in EXAMPLES.items()
    }


def test_there_is_an_example_for_every_protocol() -> None:
    assert {protocol for protocol, _ in EXAMPLES.values()} == set(keys.PROTOCOLS)


def test_the_examples_show_the_defaults() -> None:
    config = examine(EXAMPLE).config
    assert config is not None
    assert config.node == Node(file=str(EXAMPLE / "muxproxy.toml"))
    for backend in config.backends:
        assert backend.clients == Clients(listen=backend.clients.listen)
        patience: dict[str, Any] = PATIENCE[backend.protocol]
        upstream = backend.upstream
        if upstream.to == "servers":
            assert backend.queue == Queue(**patience["queue"])
            more = patience.get("upstream", {})
        else:  # eight of eight towards one destination would be worth a warning
            assert backend.queue == Queue(**patience["queue"], max_waiting=EVERYWHERE)
            more = {"max_connections": PLENTY[backend.name]}
        assert upstream == Upstream(servers=upstream.servers, to=upstream.to, **more)
        own = (backend.http, backend.redis, backend.dubbo, backend.tcp)
        assert own == (Http(), Redis(), Dubbo(), Tcp())


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_names_every_key_that_has_an_effect(name: str) -> None:
    protocol, without_effect = EXAMPLES[name]
    text = (EXAMPLE / f"backends/{name}.toml").read_text()
    named = set(re.findall(r"^#? ?([a-z_]+) = ", text, re.MULTILINE))
    own = keys.PROTOCOL_TABLES[protocol]
    known = {key for table in [*keys.TABLES.values(), own] for key in table}
    for key, reader in own.items():
        if isinstance(reader, keys.Several):
            known = known - {key} | set(reader.table)
    assert known - named == without_effect
    assert named - known == set(keys.BACKEND)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_an_example_has_off_is_accepted_when_it_is_on(tmp_path: Path, name: str) -> None:
    """One key at a time: passwords and the files they are in exclude each other."""
    text = (EXAMPLE / f"backends/{name}.toml").read_text()
    off = re.findall(r"^# ([a-z_]+) = ", text, re.MULTILINE)
    assert len(off) > 1
    path = tmp_path / f"{name}.toml"
    for key in off:
        if name == "outbound" and key in HOSTS - {"max_tunnels"}:
            on = text.replace("# [[", "[[")
            on = re.sub(r"^# (host|servers|max_connections|tls|queue) = ", r"\1 = ", on, flags=re.MULTILINE)
        elif key in keys.PROTOCOL_TABLES["dubbo"]["limits"].table:
            on = text.replace("# [[", "[[")
            on = re.sub(r"^# (service|method|actives|timeout) = ", r"\1 = ", on, flags=re.MULTILINE)
        else:
            on = text.replace(f"\n# {key} = ", f"\n{key} = ")
        if key == "username":
            on = on.replace("\n# password = ", "\npassword = ")
        if key.endswith("_file"):
            (tmp_path / "secret").write_text("hush\n")
            on = on.replace("/run/credentials/muxproxy.service/", "").replace(
                f'{key} = "', f'{key} = "{tmp_path}/secret" # "'
            )
        for place, file in (("cert", made("server").cert), ("key", made("server").key)):
            on = on.replace(f"/etc/muxproxy/tls/{place}.pem", file)
        if key.startswith("redirect_"):
            on = on.replace("\n# redirect = ", "\nredirect = ")
        path.write_text(on)
        assert [str(problem) for problem in examine(path).problems] == [], key


@pytest.fixture
def unit() -> configparser.SectionProxy:
    # strict: SystemCallFilter= is a list that goes on from line to line.
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # directives are case-sensitive
    parser.read(ROOT / "systemd/muxproxy.service")
    return parser["Service"]


def test_the_unit_gives_a_drain_the_time_it_may_take(unit: configparser.SectionProxy) -> None:
    assert parse_duration(unit["TimeoutStopSec"]) > Node().drain_timeout
    assert unit["KillMode"] == "mixed"
    assert unit["Type"] == "notify"


def test_the_watchdog_comes_after_all_that_muxproxy_does_itself(unit: configparser.SectionProxy) -> None:
    assert unit["WatchdogSec"] == "3min"  # supervisor/systemd/pulse.py, and its test


def test_the_units_of_several_instances_are_the_same_but_for_their_places() -> None:
    for kind, places in (
        ("service", [("/etc/muxproxy/instances/%i", "/etc/muxproxy"), ("muxproxy-%i", "muxproxy")]),
        ("socket", []),
    ):
        one, several = (
            [line for line in (ROOT / f"systemd/{name}.{kind}").read_text().splitlines() if line[:1] != "#"]
            for name in ("muxproxy", "muxproxy@")
        )
        text = "\n".join(several).replace("muxproxy, %i", "muxproxy")
        for here, there in places:
            text = text.replace(here, there)
        assert text == "\n".join(one)


def test_the_units_descriptor_limit_holds_dozens_of_backends_with_defaults(
    unit: configparser.SectionProxy,
) -> None:
    clients = Clients(listen=())
    assert int(unit["LimitNOFILE"]) > 50 * (clients.max_connections + clients.backlog)
