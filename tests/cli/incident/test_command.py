"""`muxproxy incident`: what is missing is said, failures are failures, and JSON is written in any case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from muxproxy.cli import descriptors
from muxproxy.cli.exits import Exit
from muxproxy.cli.main import cli
from muxproxy.incident import picture, world
from muxproxy.incident.record import Recording, from_json
from muxproxy.incident.replays import REPLAYS
from muxproxy.incident.world import World
from muxproxy.stage.stage import Broken, Stage
from tests.incident.records import recorded


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A replay whose play is this list: "" does nothing, a word breaks the play, "wrong" shows nothing."""
    words: list[str] = [""]

    def play(stage: Stage, world: World, record: Recording, show: Callable[[], None]) -> None:
        show()
        if words[0] not in ("", "wrong"):
            raise Broken(words[0])

    monkeypatch.setitem(
        REPLAYS,
        "redis",
        REPLAYS["redis"]._replace(
            recording=lambda size, world: recorded(),
            play=play,
            problems=lambda record: ["nothing was seen"] if words[0] == "wrong" else [],
            finding=lambda record: "much",
            headlines=lambda record: dict.fromkeys(("direct", "muxproxy"), "much"),
            programs=lambda: {"sh": "dash"},
        ),
    )
    monkeypatch.setattr("muxproxy.cli.incident.command.raise_to_hard_limit", descriptors.hard_limit)
    return words


def typed(out: Path, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["incident", "redis", "--loopback", "--out", str(out), *more])
    return result.exit_code, result.output


def test_what_is_suggested_is_for_redis_and_is_in_the_record(said: list[str], tmp_path: Path) -> None:
    code, told = typed(tmp_path, "--suggested", "--no-pictures")
    assert (code, from_json((tmp_path / "redis.json").read_bytes()).suggested) == (Exit.OK, True)
    assert "muxproxy runs with what `muxproxy doctor --suggest` wrote" in told
    result = CliRunner().invoke(cli, ["incident", "all", "--suggested", "--out", str(tmp_path)])
    assert (result.exit_code, "--suggested is for redis" in result.output) == (2, True)


def test_it_is_written_and_told(said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[object, ...]] = []  # tests/incident/test_picture.py draws one
    monkeypatch.setattr(picture, "draw", lambda *told: drawn.append(told))
    code, told = typed(tmp_path / "new", "--quick")
    assert code == Exit.OK
    ((_, finding, headlines, _, stem),) = drawn
    assert (finding, headlines, stem) == (
        "much",
        {"direct": "much", "muxproxy": "much"},
        tmp_path / "new/redis",
    )
    record = from_json((tmp_path / "new/redis.json").read_bytes())
    assert record.machine.pop("load").endswith(" after")  # what else the machine was doing
    assert record == recorded()
    for word in ("Through muxproxy: 8 sockets", "a note", 'protocol = "redis"', "redis.png", "loopback"):
        assert word in told


def test_without_matplotlib_the_json_is_written_and_it_is_said_what_to_type(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "is_possible", lambda: False)
    code, told = typed(tmp_path)
    assert code == Exit.OK
    assert "pip install '.[incident]'" in told
    assert [path.name for path in tmp_path.iterdir()] == ["redis.json"]


@pytest.mark.parametrize(("word", "told"), [("wrong", "FAILED: nothing was seen"), ("it died", "it died")])
def test_what_was_not_shown_is_a_failure(said: list[str], tmp_path: Path, word: str, told: str) -> None:
    said[0] = word
    code, output = typed(tmp_path, "--no-pictures")
    assert code == Exit.DEMO_FAILED
    assert told in output


def test_a_server_that_is_missing_is_named_with_its_package(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "look_for", lambda program: None)
    assert typed(tmp_path) == (
        Exit.DEMO_FAILED,
        "Error: needed as a real server, and not installed: sh (Debian: apt-get install dash)\n",
    )
