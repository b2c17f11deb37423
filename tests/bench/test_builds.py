"""Which muxproxy an interpreter has, and what its contestant is called."""

from __future__ import annotations

import sys

import pytest

import muxproxy
from tests.bench import builds, servers
from tests.bench.builds import Build

PURE, COMPILED = {"compiled": 0}, {"compiled": 40}


def names(*asked: tuple[str, dict[str, object]]) -> list[str]:
    return [build.name for build in builds.named([(label, "python", "0.1.0", told) for label, told in asked])]


def test_one_build_has_no_surname_and_several_are_called_after_what_they_are():
    assert names(("", COMPILED)) == ["muxproxy"]
    assert names(("", PURE), ("", COMPILED)) == ["muxproxy-pure", "muxproxy-compiled"]


def test_a_build_may_be_given_a_name_and_twins_are_numbered():
    assert names(("before", PURE)) == ["muxproxy-before"]
    assert names(("", PURE), ("before", PURE), ("", PURE)) == [
        "muxproxy-pure", "muxproxy-before", "muxproxy-pure#2",
    ]  # a table  # fmt: skip


def test_an_interpreter_is_asked_for_its_own_muxproxy(monkeypatch, tmp_path):
    (tmp_path / "muxproxy.py").write_text("raise SystemExit('not me')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (build,) = builds.find([])
    assert build.python == sys.executable
    assert build.says.startswith(muxproxy.__version__)
    described = build.describe({"muxproxy-unix": "running is version 7", "haproxy": "no"})
    assert f"running is version 7, Python {sys.version.split()[0]}" in described
    assert "no" not in described.split(", ")


def test_what_a_process_has_loaded_of_us_is_seen_in_its_maps():
    lines = [
        "7f00-7f01 r-xp 00001000 fe:00 917 /v/site-packages/muxproxy/mux/pool.cpython-311.so",
        "7f01-7f02 r--p 00002000 fe:00 917 /v/site-packages/muxproxy/mux/pool.cpython-311.so",
        "7f02-7f03 r-xp 00000000 fe:00 918 /v/site-packages/3f2a__mypyc.cpython-311.so",
        "7f03-7f04 r-xp 00000000 fe:00 919 /v/site-packages/uvloop/loop.cpython-311.so",
        "7f04-7f05 rw-p 00000000 00:00 0",
        "7f05-7f06 rw-p 00000000 00:00 0 [heap]",
    ]
    assert len(builds.parse_maps("\n".join(lines))) == 2


@pytest.mark.parametrize("python", ["/nowhere/python", "false"])
def test_what_is_no_interpreter_with_a_muxproxy_is_an_error(python):
    with pytest.raises(builds.BuildError, match=python):
        builds.find([python])


def test_each_build_is_started_by_its_own_interpreter(tmp_path):
    build = Build("muxproxy-pure", "/x/bin/python", "0.1.0", PURE)
    (contestant,) = servers.ours([build], "tcp", max_connections=3).values()
    command = contestant.configure(tmp_path, "127.0.0.1:1", 2)
    assert command[:5] == ["/x/bin/python", "-I", "-m", "muxproxy", "run"]
    assert "max_connections = 3" in (tmp_path / "backends" / "bench.toml").read_text()
