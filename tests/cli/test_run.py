"""`run`: what reaches the supervisor, what stops before it, and the exit codes of the real program."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from muxproxy.cli.run import start
from muxproxy.config.model import Config

TEXT = """
protocol = "http"
[clients]
listen = ["127.0.0.1:PORT"]
[upstream]
servers = ["10.0.0.5:80"]
"""


class FakeSupervisor:
    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.served: list[Config] = []

    def __call__(self, config: Config, read: Callable[[], Config]) -> int:
        self.served.append(config)
        return self.code


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "orders.toml"
    file.write_text(TEXT.replace("PORT", "8080"))
    return file


def test_the_supervisor_gets_the_effective_numbers_and_its_code_is_ours(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    supervisor = FakeSupervisor(code=143)
    assert start(path, 20_000, supervisor) == 143
    assert start(path, 1_000, supervisor) == 143
    roomy, tight = (config.backends[0].clients.max_connections for config in supervisor.served)
    assert roomy == 10_000
    assert 16 < tight < 1_000
    log = capfd.readouterr().err
    assert f"{path}: clients.max_connections = {tight}: lowered from the default 10000" in log


def test_the_supervisor_gets_a_number_of_workers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muxproxy.cli.run.usable_cpus", lambda: 3)
    (path.parent / "backends").mkdir()
    path.rename(path.parent / "backends/orders.toml")
    (path.parent / "muxproxy.toml").write_text('workers = "auto"\n')
    supervisor = FakeSupervisor()
    assert start(path.parent, 20_000, supervisor) == 0
    assert supervisor.served[0].node.workers == 3


def test_warnings_are_logged_and_do_not_stop_it(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path.write_text(TEXT.replace("127.0.0.1:PORT", "0.0.0.0:8080"))
    supervisor = FakeSupervisor()
    assert start(path, 20_000, supervisor) == 0
    assert len(supervisor.served) == 1
    assert "other machines can reach this" in capfd.readouterr().err


def test_nothing_is_started_with_a_wrong_configuration(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path.write_text(TEXT.replace("PORT", "8080") + "x = 1\ny = 2\n")
    supervisor = FakeSupervisor()
    assert start(path, 20_000, supervisor) == 1
    assert supervisor.served == []
    log = capfd.readouterr().err
    assert f"{path}: upstream.x = 1: unknown key" in log
    assert f"{path}: upstream.y = 2: unknown key" in log
    assert "not started: the configuration has errors problems=2" in log


def test_warnings_are_logged_beside_errors(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "orders.toml").write_text(TEXT)
    assert start(tmp_path, 20_000, FakeSupervisor()) == 1
    log = capfd.readouterr().err
    assert "no backends" in log
    assert f"{tmp_path}/orders.toml: not read: a backend is {tmp_path}/backends/NAME.toml" in log


def test_nothing_is_started_that_cannot_fit(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    supervisor = FakeSupervisor()
    assert start(path, 80, supervisor) == 1
    assert supervisor.served == []
    assert "a worker needs 91 descriptors of 80: 64 reserve" in capfd.readouterr().err


def muxproxy_run(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "muxproxy", "run", "-c", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_program_exits_with_1_for_a_wrong_configuration(path: Path) -> None:
    path.write_text("nonsense")
    result = muxproxy_run(path)
    assert result.returncode == 1
    assert f"{path}: not TOML" in result.stderr


def test_the_program_exits_with_3_if_an_address_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "muxproxy.toml").write_text(f'admin = "{tmp_path}/admin.sock"\n')
        (tmp_path / "backends").mkdir()
        (tmp_path / "backends/orders.toml").write_text(TEXT.replace("127.0.0.1:PORT", address))
        result = muxproxy_run(tmp_path)
    assert result.returncode == 3
    assert address in result.stderr
