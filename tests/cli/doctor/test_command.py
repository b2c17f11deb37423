"""`doctor` as it is typed: its options, exit codes, and what it prints where. The machine is made up."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from muxproxy.cli.doctor import command
from muxproxy.cli.main import cli
from muxproxy.config.load import examine
from muxproxy.doctor.facts import Facts
from muxproxy.doctor.reading import look, redis
from muxproxy.doctor.reading.redis import CannotBeAskedError, Told
from tests.doctor.made import facts, flow

ILL = facts(flow(1992, 8, timed=30.0, busy_most=20), ip_local_port_range="20000 21999", tcp_tw_reuse="0")
WELL = facts(flow(20, 8))
BACKEND = """
protocol = "redis"
[clients]
listen = ["127.0.0.1:40001"]
max_connections = 100
backlog = 100
[upstream]
servers = ["10.0.0.9:6379"]
[redis]
password = "secret"
"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[Facts]:
    """What the next looks see; the last of it from then on."""
    told = [WELL]
    monkeypatch.setattr(look, "look", lambda seconds: told.pop(0) if len(told) > 1 else told[0])
    return told


def doctor(*options: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *options])


@pytest.fixture
def backend(tmp_path: Path) -> Path:
    path = tmp_path / "cache.toml"
    path.write_text(BACKEND)
    return path


def test_its_exit_code_says_whether_something_is_wrong(machine: list[Facts]) -> None:
    result = doctor()
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "Nothing is wrong.")
    machine[:] = [ILL]
    result = doctor()
    assert (result.exit_code, result.stdout.splitlines()[0]) == (1, "3 things wrong")
    assert "\x1b" not in result.stdout  # no terminal


def test_json_is_what_the_schema_says(machine: list[Facts]) -> None:
    machine[:] = [ILL]
    result = doctor("--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["verdict"], told["findings"][0]["remote"]) == (1, "wrong", "10.0.0.5:6379")
    schema = json.loads(doctor("--schema").stdout)
    jsonschema_rs.validate(schema, told)
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, told | {"verdict": "so so"})


def test_watch_looks_again_and_the_last_look_is_the_exit_code(
    machine: list[Facts], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", pause)
    machine[:] = [WELL, ILL]
    result = doctor("--watch", "--json")
    assert [json.loads(line)["verdict"] for line in result.stdout.splitlines()] == ["fine", "wrong"]
    assert (result.exit_code, pauses) == (1, [1.0, 1.0])
    pauses.clear()
    machine[:] = [ILL, WELL]
    assert doctor("--watch").exit_code == 0


def test_a_suggestion_is_a_file_and_nothing_else(machine: list[Facts], tmp_path: Path) -> None:
    machine[:] = [ILL]
    result = doctor("--suggest", "10.0.0.5:6379")
    assert result.exit_code == 0
    path = tmp_path / "cache.toml"
    path.write_text(result.stdout)
    reading = examine(path)
    assert (reading.problems, reading.config is None) == ([], False)


def test_a_remote_that_nobody_connects_to_is_a_usage_error(machine: list[Facts]) -> None:
    result = doctor("--suggest", "10.0.0.7:1")
    assert result.exit_code == 2
    assert "no connection from here to 10.0.0.7:1 was seen; there are: 10.0.0.5:6379" in result.stderr


def test_remotes_complete_on_tab(machine: list[Facts], monkeypatch: pytest.MonkeyPatch) -> None:
    machine[:] = [facts(flow(5), flow(9, host="10.0.0.6"), flow(1, host="fd00::5"))]

    def completed(text: str) -> list[str]:
        shell = ShellComplete(cli, {}, "muxproxy", "_MUXPROXY_COMPLETE")
        return [item.value for item in shell.get_completions(["doctor", "--suggest"], text)]

    assert completed("10.") == ["10.0.0.6:6379", "10.0.0.5:6379"]
    assert completed("x") == []

    def fails(seconds: float) -> Facts:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(look, "look", fails)
    assert completed("") == []
    result = doctor()
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.endswith("cannot be read: Operation not permitted\n")


def test_a_configuration_is_judged_too(machine: list[Facts], backend: Path) -> None:
    result = doctor("-c", str(backend))
    assert result.exit_code == 0
    assert "Nothing is wrong; 1 warning" in result.stdout
    assert '  type  sysctl -w net.ipv4.ip_local_reserved_ports="40001"' in result.stdout.splitlines()
    backend.write_text(BACKEND.replace("redis", "radis"))
    result = doctor("-c", str(backend))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "protocol = " in result.stderr


def test_a_fleet_asks_redis_what_it_takes(
    machine: list[Facts], backend: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, str]] = []

    def ask(address: object, username: str, password: str, tls: object) -> Told:
        asked.append((str(address), username, password))
        return Told(100, 12, "CONFIG GET maxclients, asked of it")

    monkeypatch.setattr(redis, "ask", ask)
    result = doctor("-c", str(backend), "--fleet", "20")
    assert asked == [("10.0.0.9:6379", "", "secret")]
    assert result.exit_code == 1
    assert "20 nodes x 8 = 160 connections of 100 that the server takes" in result.stdout
    assert "secret" not in result.output
    result = doctor("-c", str(backend), "--fleet", "20", "--limit", "cache=10000")
    assert (len(asked), result.exit_code) == (1, 0)
    assert "20 nodes x 8 = 160 connections of 10,000 that the server takes (1.6 %)" in result.stdout


def test_a_fleet_whose_redis_cannot_be_asked_says_so_and_goes_on(
    machine: list[Facts], backend: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(address: object, username: str, password: str, tls: object) -> Told:
        raise CannotBeAskedError("10.0.0.9:6379: Connection refused")

    monkeypatch.setattr(redis, "ask", ask)
    result = doctor("-c", str(backend), "--fleet", "20")
    assert result.exit_code == 0
    assert result.stderr == "note: cache: maxclients is not known: 10.0.0.9:6379: Connection refused\n"
    assert "what the server takes is not known: give it, --limit cache=N" in result.stdout


@pytest.mark.parametrize("given", ["cache", "cache=", "=5", "cache=0", "cache=-1", "cache=²"])
def test_a_limit_is_a_name_and_a_number(given: str) -> None:
    assert doctor("--fleet", "2", "--limit", given).exit_code == 2


def test_a_limit_without_a_fleet_is_a_usage_error() -> None:
    assert doctor("--limit", "cache=5").exit_code == 2
    assert doctor("--fleet", "0").exit_code == 2
