"""The second incident, small: direct it breaks as it did, repaired it holds, and muxproxy keeps its bound."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from muxproxy.config.load import examine
from muxproxy.doctor.judging.suggest import LEAST, MOST_SHARED, suggest
from muxproxy.incident.record import TIME_WAIT, Recording, Sample
from muxproxy.incident.redis import replay
from muxproxy.incident.redis.replay import BOUND, BROKEN, SIZES, problems
from muxproxy.incident.world import World
from muxproxy.stage.stage import Broken
from tests.doctor.made import facts, flow
from tests.incident.performed import needs_namespaces, performed
from tests.sizes import is_full
from tests.system.process import needs
from tests.system.reachable import prefix

AS_NOBODY = ("as nobody",)


@needs("redis-server")
@needs_namespaces
@pytest.mark.parametrize("options", [(), ("--suggested",), AS_NOBODY] if is_full() else [()])
def test_direct_uses_up_the_ports_and_muxproxy_needs_eight(tmp_path: Path, options: tuple[str, ...]) -> None:
    """With its own file, or with the one that the doctor wrote while it looked at the direct leg; and played
    by an ordinary user."""
    by_nobody = options == AS_NOBODY
    record = performed_by_nobody(tmp_path) if by_nobody else performed("redis", tmp_path, *options)
    direct, repaired, through = record.legs
    ports = 1 + SIZES["small"].ports[1] - SIZES["small"].ports[0]
    assert 0.9 * ports <= direct.most(TIME_WAIT) <= ports
    assert direct.errors.keys() == {BROKEN}
    assert direct.failed > 100
    for leg in (repaired, through):
        assert leg.errors == {}
        assert leg.requests > 1000
    assert repaired.most_open <= 400
    if options == ("--suggested",):
        assert "# Suggested by `muxproxy doctor --suggest " in record.config
        assert through.bound is not None
        assert LEAST <= through.bound <= MOST_SHARED
    else:
        assert through.bound == BOUND == 8
    assert 0 < through.most_open <= through.bound
    assert 0 < through.most_at_servers <= through.bound
    assert through.dialled > 1000  # the client, unchanged
    assert through.server_cpu is not None
    assert repaired.server_cpu is not None
    assert through.server_cpu / through.requests < repaired.server_cpu / repaired.requests
    assert len(direct.samples) > 10


def performed_by_nobody(folder: Path) -> Recording:
    nobody = pwd.getpwnam("nobody")
    (folder / "through").mkdir()
    with tempfile.TemporaryDirectory() as out:  # not below pytest's folder, which is root's alone
        os.chown(out, nobody.pw_uid, nobody.pw_gid)
        become = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
        record = performed("redis", Path(out), before=(*prefix(folder / "through"), *become))
    assert "played by an ordinary user, in network namespaces inside of a user namespace" in record.notes
    return record


def record_of(direct: dict[str, int], errors: dict[str, int], through: dict[str, int]) -> Recording:
    record = replay.recording("small", World(use_namespaces=False))
    record.namespaces, record.settings = True, {"ip_local_port_range": "32768 33567"}
    for leg, client in zip(record.legs, (direct, {}, through), strict=True):
        leg.samples, leg.requests = [Sample(0.0, client, client)], 100
    record.legs[0].errors = errors
    return record


@pytest.mark.parametrize(
    ("record", "wrong"),
    [
        (record_of({"TIME_WAIT": 790}, {BROKEN: 1}, {"ESTABLISHED": 8}), []),
        (record_of({"TIME_WAIT": 400}, {BROKEN: 1}, {}), ["direct: 400 TIME_WAIT do not use up 800 ports"]),
        (record_of({"TIME_WAIT": 790}, {"else": 1}, {}), [f"direct: not once `{BROKEN}`"]),
        (
            record_of({"TIME_WAIT": 790}, {BROKEN: 1}, {"ESTABLISHED": 8, "SYN_SENT": 1}),
            ["through muxproxy: 9 sockets, above the bound of 8"],
        ),
    ],
)
def test_what_did_not_happen_is_a_problem(record: Recording, wrong: list[str]) -> None:
    assert problems(record) == wrong


def test_what_the_doctor_suggests_listens_where_a_pool_that_churns_costs_no_ports(tmp_path: Path) -> None:
    one = flow(1800, 200, busy_most=150)
    config = replay.by_unix_socket(suggest(facts(one), one.remote), "/run/muxproxy/a.sock")
    path = tmp_path / "cache.toml"
    path.write_text(config)
    assert examine(path).problems == []
    assert 'listen = ["unix:/run/muxproxy/a.sock"]' in config.splitlines()
    assert replay.bound_of(config) == 5
    with pytest.raises(Broken, match="0 lines"):
        replay.by_unix_socket("", "/a.sock")


def test_errors_through_muxproxy_are_a_problem_and_a_silent_leg_is() -> None:
    record = record_of({"TIME_WAIT": 790}, {BROKEN: 1}, {})
    record.legs[2].errors, record.legs[2].requests = {"read: EOF": 1}, 0
    assert problems(record) == [
        "Through muxproxy: {'read: EOF': 1}",
        "through muxproxy: no replies at all",
    ]


def test_the_picture_says_what_there_is_to_see() -> None:
    record = record_of({"TIME_WAIT": 790}, {BROKEN: 1}, {"ESTABLISHED": 3})
    assert replay.headlines(record)["direct"] == "790 TIME_WAIT: no port is left"
    assert replay.headlines(record)["muxproxy"] == "3 sockets (the bound: 8)"
    assert replay.limit(record) == (800, "all 800 local ports")
    record.legs[0].errors = {BROKEN: 7}
    assert (
        replay.finding(record)
        == "Redis: no port is left, 7 commands fail. Through muxproxy: 3 sockets, 0 errors"
    )
