"""`reload` against an admin server that answers as a supervisor would: lines, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from muxproxy.cli.main import cli
from muxproxy.config.model import Config
from muxproxy.config.plan import plan, told
from tests.cli.conftest import FakeAdmin
from tests.config.models import backend, config


def reload(*options: str | Path) -> Result:
    return CliRunner().invoke(cli, ["reload", *map(str, options)])


def answer(admin: FakeAdmin, old: Config, new: Config, status: str = "200 OK") -> None:
    admin.answer(json.dumps(told(plan(old, new))).encode(), status)


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_changes_is_told_whether_it_is_done_or_not(admin: FakeAdmin, dry_run: bool) -> None:
    answer(admin, config(backend()), config(backend(queue__timeout=0.5)))
    result = reload("--socket", admin.path, *(["--dry-run"] if dry_run else []))
    assert (result.exit_code, result.stdout) == (
        0,
        'changed: alpha: queue.timeout = "5s" -> "500ms": at once\n',
    )
    head, _, body = admin.asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /reload HTTP/1.1\r\n")
    assert json.loads(body) == {"dry_run": dry_run}


def test_nothing_to_do_is_no_fault(admin: FakeAdmin) -> None:
    answer(admin, config(backend()), config(backend()))
    result = reload("--socket", admin.path)
    assert (result.exit_code, result.stdout) == (0, "nothing to do: what runs is what the files say\n")


@pytest.mark.parametrize("status", ["200 OK", "409 Conflict"])
def test_what_is_refused_has_a_code_of_its_own(admin: FakeAdmin, status: str) -> None:
    answer(admin, config(backend(), user="a"), config(backend(), user="b"), status)
    result = reload("--socket", admin.path, "--dry-run")
    assert result.exit_code == 7
    assert result.stdout.splitlines()[0].startswith('refused: muxproxy.toml: user = "b": a running muxproxy ')
    assert result.stdout.splitlines()[-1] == "refused: nothing is changed"


def test_addresses_that_cannot_be_had_have_the_code_that_run_has_for_them(admin: FakeAdmin) -> None:
    problem = {"detail": "x", "cannot_listen": ["a: taken", "b: taken\x1b"]}
    admin.answer(json.dumps(problem).encode(), "409 Conflict")
    result = reload("--socket", admin.path)
    assert (result.exit_code, result.stdout) == (3, "a: taken\nb: taken?\n")


def test_not_now_is_told(admin: FakeAdmin) -> None:
    admin.answer(b'{"detail": "muxproxy is draining"}', "409 Conflict")
    result = reload("--socket", admin.path)
    assert (result.exit_code, result.stdout) == (7, "muxproxy is draining\n")


def test_files_that_are_wrong_are_told_as_check_tells_them(admin: FakeAdmin) -> None:
    problem = {"file": "a.toml", "key": "queue.timeout", "value": "5", "rule": "a duration is\x1b[2J"}
    admin.answer(json.dumps({"problems": [problem]}).encode(), "422 Unprocessable Content")
    result = reload("--socket", admin.path)
    assert (result.exit_code, result.stdout) == (1, "a.toml: queue.timeout = 5: a duration is?[2J\n")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "404 Not Found"),  # one that is older
        (b"[]", "200 OK"),
        (b"{}", "200 OK"),
        (b"{}", "422 Unprocessable Content"),
        (b'{"problems": [{"file": 5}]}', "422 Unprocessable Content"),
        (b"<html>", "200 OK"),
    ],
)
def test_who_does_not_answer_this_question_cannot_reload(admin: FakeAdmin, body: bytes, status: str) -> None:
    admin.answer(body, status)
    result = reload("--socket", admin.path)
    assert result.exit_code == 4
    assert result.stderr.startswith(f"Error: cannot ask {admin.path}: it cannot reload: ")
    assert len(result.stderr.splitlines()) == 1


def test_with_nobody_there_it_has_the_code_for_that(tmp_path: Path) -> None:
    assert reload("--socket", tmp_path / "admin.sock", "--dry-run").exit_code == 4
