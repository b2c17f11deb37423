"""`status` against an admin server on a unix socket: what it shows, and what it says where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from muxproxy.cli.main import cli
from tests.cli.conftest import FakeAdmin
from tests.cli.reports import REPORT


def status(*options: str | Path) -> Result:
    return CliRunner().invoke(cli, ["status", *map(str, options)])


def test_the_state_is_asked_for_and_shown(admin: FakeAdmin) -> None:
    result = status("--socket", admin.path)
    assert result.exit_code == 0
    assert admin.asked[0].startswith(b"GET /status HTTP/1.1\r\nHost: localhost\r\n")
    assert "orders-api" in result.stdout
    assert "8 / 8" in result.stdout


def test_json_is_the_whole_answer(admin: FakeAdmin) -> None:
    result = status("--json", "--socket", admin.path)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads(json.dumps(REPORT))


@pytest.mark.parametrize("letter", ["\x1b", "\x7f", "\x9b", "\u202e"])
def test_no_word_of_a_server_or_of_who_answers_drives_the_terminal(admin: FakeAdmin, letter: str) -> None:
    report = json.loads(json.dumps(REPORT).replace("refused", json.dumps(f"a{letter}[2J")[1:-1]))
    report["backends"]["orders-api"]["servers"][0]["address"] = "[fd00::5]:80"
    admin.answer(json.dumps(report).encode())
    shown, as_json = status("--socket", admin.path), status("--json", "--socket", admin.path)
    assert shown.exit_code == as_json.exit_code == 0
    assert "a?[2J" in shown.stdout
    assert "[fd00::5]:80" in shown.stdout, "brackets are no markup"
    admin.answer(f"a{letter}[2J".encode(), status="500 Oops")
    failed = status("--socket", admin.path)
    assert failed.exit_code == 4
    for said in (shown.stdout, as_json.stdout, failed.stderr):
        assert letter not in said
    assert json.loads(as_json.stdout) == report


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops", "it answered 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "what answers there is not muxproxy"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxx", "Expecting value"),
    ],
)
def test_an_answer_that_is_no_report_is_told_in_one_line(admin: FakeAdmin, reply: bytes, says: str) -> None:
    admin.reply = reply
    result = status("--socket", admin.path)
    assert result.exit_code == 4
    assert result.stderr.startswith(f"Error: cannot ask {admin.path}: ")
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_with_nobody_there_it_has_the_code_for_that(tmp_path: Path) -> None:
    assert status("--socket", tmp_path / "admin.sock").exit_code == 4
