"""`muxproxy redirect` prints rules, and has nft write and remove them; `check` looks whether they are there.

Real rules: tests/system/transparent.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from muxproxy.cli.main import cli

BACKEND = """
protocol = "redis"
[clients]
listen = ["127.0.0.1:15001"]
redirect = ["10.0.0.0/8:6379"]
{more}
[upstream]
to = "original"
"""


def muxproxy(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cache.toml"
    path.write_text(BACKEND.format(more=""))
    return path


@pytest.fixture
def nft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that writes down what it is told, and answers with what stands in `answer`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "nft"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/words\n[ "$1" = -f ] && cat >> {folder}/script\n'
        f"[ -e {folder}/answer ] && . {folder}/answer\nexit 0\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_the_rules_are_printed(file: Path) -> None:
    told = muxproxy("redirect", "-c", file)
    assert told.exit_code == 0
    assert "ip daddr 10.0.0.0/8 tcp dport 6379 counter redirect to :15001" in told.stdout


def test_they_are_written_and_removed_by_nft(file: Path, nft: Path) -> None:
    assert muxproxy("redirect", "-c", file, "--write").exit_code == 0
    assert (nft / "script").read_text() == muxproxy("redirect", "-c", file).stdout
    (nft / "script").unlink()
    assert muxproxy("redirect", "-c", file, "--remove").exit_code == 0
    assert (nft / "script").read_text() == "table inet muxproxy\ndelete table inet muxproxy\n"
    assert muxproxy("redirect", "-c", file, "--remove", "--write").exit_code == 2


def test_what_nft_says_against_it_is_told(file: Path, nft: Path) -> None:
    (nft / "answer").write_text("echo Operation not permitted >&2; exit 1\n")
    told = muxproxy("redirect", "-c", file, "--write")
    assert told.exit_code == 3
    assert "nft: Operation not permitted" in told.stderr
    told = muxproxy("check", "-c", file)
    assert told.exit_code == 0
    assert "the kernel's rules cannot be looked at: Operation not permitted" in told.stdout


def test_check_says_that_they_are_not_in_place(file: Path, nft: Path) -> None:
    (nft / "answer").write_text("echo 'Error: No such file or directory' >&2; exit 1\n")
    assert (
        "the kernel's rules are not in place: muxproxy redirect --write"
        in muxproxy("check", "-c", file).stdout
    )
    (nft / "answer").write_text("echo '{\"nftables\": []}'\n")
    assert "are not in place: table inet muxproxy has no chain" in muxproxy("check", "-c", file).stdout


def test_a_user_that_there_is_not_is_a_problem_of_the_file(file: Path) -> None:
    file.write_text(BACKEND.format(more='redirect_users = ["nobody-at-all"]'))
    told = muxproxy("redirect", "-c", file)
    assert told.exit_code == 1
    assert 'clients.redirect_users = "nobody-at-all": this machine has no such user' in told.stderr


def test_where_nothing_is_to_be_led_here_it_says_what_to_write(file: Path) -> None:
    file.write_text(BACKEND.format(more="").replace('redirect = ["10.0.0.0/8:6379"]', ""))
    told = muxproxy("redirect", "-c", file)
    assert told.exit_code == 1
    assert "no backend has [clients] redirect" in told.stderr
    assert "kernel's rules" not in muxproxy("check", "-c", file).stdout


def test_without_nft_it_says_what_to_install(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muxproxy.cli.redirect.command.SBIN", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    told = muxproxy("redirect", "-c", file, "--write")
    assert told.exit_code == 3
    assert "nft is not installed" in told.stderr
