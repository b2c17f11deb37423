"""`check`: what it prints, line by line, and its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from muxproxy.cli.main import cli

GOOD = """
protocol = "http"
[clients]
listen = ["127.0.0.1:8080"]
max_connections = 500
backlog = 100
[upstream]
servers = ["10.0.0.5:80"]
"""
# In a process of its own, whose limit may be changed.
MAIN = "from muxproxy.cli.main import main; main()"


def check(path: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["check", "-c", str(path), *options])


def write(directory: Path, **files: str) -> Path:
    (directory / "backends").mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / f"backends/{name}.toml").write_text(text)
    return directory


def test_a_good_configuration_is_told_in_effective_numbers(tmp_path: Path) -> None:
    result = check(write(tmp_path, orders=GOOD), "--nofile", "1000")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "orders: 127.0.0.1:8080 to 10.0.0.5:80 (http): "
        "at most 8 upstream connections, 500 clients, 1000 waiting",
        "worker 0: at most 674 descriptors of 1000",
    ]
    assert result.stderr == f"{tmp_path}: no errors, 0 warnings\n"


def test_defaults_are_told_as_they_fit_in_the_limit(tmp_path: Path) -> None:
    text = GOOD.replace("max_connections = 500\n", "")
    result = check(write(tmp_path, orders=text), "--nofile", "1000")
    assert result.exit_code == 0
    assert "826 clients" in result.stdout
    assert "worker 0: at most 1000 descriptors of 1000" in result.stdout


def test_workers_are_told_as_this_machine_has_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muxproxy.cli.check.usable_cpus", lambda: 2)
    (tmp_path / "muxproxy.toml").write_text('workers = "auto"\n')
    result = check(write(tmp_path, a=GOOD, b=GOOD.replace("8080", "8081")))
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["a", "worker 0", "b", "worker 1"]


def test_a_backend_is_told_once_however_many_workers_accept_for_it(tmp_path: Path) -> None:
    result = check(write(tmp_path, a="shards = 2\n" + GOOD), "--nofile", "1000")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"note: {tmp_path}/backends/a.toml: shards = 2: more than workers, 1: as many are started, "
        "for each shard is a process of its own",
        "a: 127.0.0.1:8080 to 10.0.0.5:80 (http): "
        "at most 8 upstream connections, 500 clients, 1000 waiting, in 2 workers",
        "worker 0: at most 674 descriptors of 1000",
        "worker 1: at most 674 descriptors of 1000",
    ]


def test_every_problem_is_one_line(tmp_path: Path) -> None:
    bad = GOOD.replace("max_connections = 500", "max_conections = 500\nidle_timeout = 5")
    result = check(write(tmp_path, a=bad, b="nonsense"))
    assert result.exit_code == 1
    a, b = f"{tmp_path}/backends/a.toml", f"{tmp_path}/backends/b.toml"
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0] == f"{a}: clients.max_conections = 500: unknown key; did you mean max_connections?"
    assert lines[1].startswith(f"{a}: clients.idle_timeout = 5: a duration is a number and a unit")
    assert lines[2].startswith(f"{b}: not TOML: ")
    assert result.stderr == f"{tmp_path}: 3 errors, 0 warnings\n"


def test_warnings_do_not_change_the_exit_code(tmp_path: Path) -> None:
    result = check(write(tmp_path, a=GOOD.replace("127.0.0.1:8080", "0.0.0.0:8080")), "--nofile", "1000")
    assert result.exit_code == 0
    assert result.stdout.startswith(f'warning: {tmp_path}/backends/a.toml: clients.listen = "0.0.0.0:8080": ')
    assert "no errors, 1 warning\n" in result.stderr


def test_what_does_not_fit_is_an_error_under_the_limit_that_was_named(tmp_path: Path) -> None:
    result = check(write(tmp_path, a=GOOD), "--nofile", "600")
    assert result.exit_code == 1
    assert "a worker needs 674 descriptors of 600: 64 reserve + a (2 listening + 8 upstream" in result.stdout


def test_what_does_not_fit_in_this_shells_limit_is_a_warning(tmp_path: Path) -> None:
    code = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (600, 600)); {MAIN}"
    command = [sys.executable, "-c", code, "check", "-c", str(write(tmp_path, a=GOOD))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stdout.startswith(
        f"warning: {tmp_path}/backends/a.toml: a worker needs 674 descriptors of 600"
    )


def test_a_path_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    result = check(tmp_path / "absent")
    assert result.exit_code == 1
    assert result.stdout == f"{tmp_path}/absent: no such file or directory\n"


def test_where_a_request_goes_is_told_in_the_place_of_numbers(tmp_path: Path) -> None:
    to = 'to = "host"\nmax_connections = 16\nallow = ["127.0.0.0/8"]'
    asked = GOOD.replace('servers = ["10.0.0.5:80"]', to)
    path = write(tmp_path, out=asked, orders=GOOD.replace("8080", "8081"))
    result = check(path, "--where", "http://127.0.0.1:8080/")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "out: http://127.0.0.1:8080/ goes to 127.0.0.1:8080",
        "out: denied: muxproxy itself listens on port 8080 of 127.0.0.1",
    ]
    result = check(path, "--where", "http://localhost:81/")
    assert "out: 127.0.0.1: allowed" in result.stdout.splitlines()
    for wrong in ("http://u:hush@a/", "localhost"):
        assert check(path, "--where", wrong).exit_code == 2
    assert (
        check(
            write(tmp_path, out=GOOD, orders=GOOD.replace("8080", "8081")), "--where", "http://a/"
        ).exit_code
        == 2
    )
