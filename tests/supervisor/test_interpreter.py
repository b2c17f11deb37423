"""No code from the current directory: not in a worker, not in one that is started again, not in the demo."""

from __future__ import annotations

import os
import signal
import site
import subprocess
import sys
from pathlib import Path

import pytest

from muxproxy.stage import stage as stages
from muxproxy.supervisor import interpreter
from muxproxy.supervisor.process import WORKER_COMMAND
from tests.system.process import wait_for
from tests.system.proxy import Proxy

# Of the standard library, of site-packages, our own, and what `site` would import at start.
NAMES = ("argparse", "asyncio", "uvloop", "msgspec", "muxproxy", "sitecustomize", "usercustomize")
EVIL = "open({marker!r}, 'a').write(__name__ + chr(10))\nraise SystemExit(9)\n"


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """We are in a directory of somebody else, who wants to run code as us. What of his ran is in the file."""
    marker = tmp_path / "ran"
    directory = tmp_path / "hostile"
    directory.mkdir()
    for name in NAMES:
        (directory / f"{name}.py").write_text(EVIL.format(marker=str(marker)))
    monkeypatch.chdir(directory)
    return marker


def ran(marker: Path) -> list[str]:
    return marker.read_text().split() if marker.exists() else []


def test_the_directory_is_a_trap_for_who_does_not_mind_it(marker: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "muxproxy.worker"], check=False, capture_output=True)
    assert done.returncode == 9
    assert ran(marker) == ["muxproxy"]


@pytest.mark.parametrize("name", ["", "PYTHONPATH", "PYTHONUNBUFFERED"])
def test_what_we_exec_is_found_where_we_are_and_not_where_we_stand(
    marker: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for known in [name for name in os.environ if name.startswith("PYTHON")]:
        monkeypatch.delenv(known)
    if name:
        monkeypatch.setenv(name, "/nonexistent")
    command = interpreter.program("muxproxy.worker")
    assert command[1] == ("-P" if name else "-I"), "what the operator sets for Python is obeyed"
    done = subprocess.run([*command, "--help"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--control-fd" in done.stdout
    assert ran(marker) == []


def test_a_user_whose_own_site_packages_are_in_use_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in [name for name in os.environ if name.startswith("PYTHON")]:
        monkeypatch.delenv(known)
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(site, "getusersitepackages", lambda: sys.path[-1])
    assert interpreter.program("muxproxy.worker")[1] == "-P"


def test_a_worker_and_its_heir_run_nothing_of_the_current_directory(marker: Path) -> None:
    with Proxy("127.0.0.1:9", cwd=Path.cwd()) as proxy:
        (first,) = proxy.workers()
        os.kill(first, signal.SIGKILL)
        heir = wait_for(
            lambda: [pid for pid in proxy.workers() if pid and pid != first], within=20, what="another worker"
        )
        proxy.backend()
        flags = Path(f"/proc/{heir[0]}/cmdline").read_bytes().split(b"\0")
    assert flags[1].decode() == WORKER_COMMAND[1]
    assert ran(marker) == []


def test_the_demos_processes_run_nothing_of_the_current_directory(marker: Path) -> None:
    with stages.Stage("demo") as stage:
        for module, word in (("muxproxy.cli.demo.load", "ready"), ("muxproxy.cli.demo.origin", "port")):
            stage.await_word(stage.program(module, module), word, within=20)
    with stages.Stage("demo") as stage:
        child = stage.proxy(Path("/nonexistent"), "muxproxy")
        assert child.process.wait(20) == 1, child.log.read_text()
        assert "no such file" in child.log.read_text()
    assert ran(marker) == []
