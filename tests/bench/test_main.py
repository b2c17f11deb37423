"""What the command is told, and what it says before anything is started."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from tests.bench import builds
from tests.bench.__main__ import main


@pytest.fixture(autouse=True)
def interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked: tests/bench/test_builds.py does that."""

    def ask(python: str) -> tuple[str, dict[str, object]]:
        if python == "/nowhere/python":
            raise builds.BuildError("/nowhere/python: no such file")
        return "0.1.0", {"compiled": 0}

    monkeypatch.setattr(builds, "ask", ask)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_what_would_run_is_listed_with_the_time_it_takes():
    done = invoke(
        "--list", "redis", "--only", "64", "--only", "muxproxy", "--only", "direct", "--rounds", "1"
    )
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        "redis: 64; on muxproxy, direct: about 13 s",
        "all: about 13 s",
    ]


def test_two_builds_take_part_under_names_of_their_own():
    done = invoke("--list", "tcp", "--python", "before=/a/python", "--python", "after=/b/python")
    assert "on muxproxy-before, muxproxy-after, haproxy, direct" in done.output


def test_who_has_shards_takes_part_beside_who_has_none():
    done = invoke("--list", "tcp", "--shards", "2")
    assert "on muxproxy, haproxy, muxproxy-2-shards, direct" in done.output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["http", "--only", "keep-65"], "keep-65; known:"),
        (["--also", "envoy"], "NAME=COMMAND is wanted"),
        (["--python", "/nowhere/python"], "/nowhere/python"),
        (["memcached"], "memcached"),
    ],
)
def test_what_cannot_be_meant_is_told(words, complaint):
    done = invoke("--list", *words)
    assert done.exit_code == 2
    assert complaint in done.output
