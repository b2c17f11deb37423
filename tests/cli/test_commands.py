"""`pause`, `resume`, `reconnect`, `drain`, `set`: what is asked, what is printed, exit codes, and Tab."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from muxproxy.cli.main import cli
from tests.cli.conftest import FakeAdmin

ENTRY = {
    "state": "paused",
    "upstream_sockets": 3,
    "upstream_max": 12,
    "waiting": 7,
    "waiting_max": 100,
    "differs": {"upstream.max_connections": {"file": 8, "now": 12}},
    "drained_servers": ["10.0.0.6:80"],
}
LINE = (
    "paused: 3 of at most 12 connections, 7 of at most 100 waiting, "
    "upstream.max_connections = 12 (8 in the file), 10.0.0.6:80 is drained\n"
)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, words)])


@pytest.mark.parametrize(
    ("words", "asked", "body"),
    [
        (["pause", "web"], b"POST /backends/web/pause ", b""),
        (["resume", "web"], b"POST /backends/web/resume ", b""),
        (
            ["resume", "web", "--server", "[::1]:80"],
            b"POST /backends/web/resume?server=%5B%3A%3A1%5D%3A80 ",
            b"",
        ),
        (["reconnect", "web", "--server", "a:1"], b"POST /backends/web/reconnect?server=a%3A1 ", b""),
        (["drain", "web"], b"POST /backends/web/drain ", b""),
        (["drain", "a/b?c"], b"POST /backends/a%2Fb%3Fc/drain ", b""),
        (
            ["set", "web", "max_connections=12", "max_waiting=0"],
            b"PATCH /backends/web ",
            b'{"max_connections": 12, "max_waiting": 0}',
        ),
    ],
)
def test_the_running_one_is_asked_and_how_it_is_now_is_printed(
    admin: FakeAdmin, words: list[str], asked: bytes, body: bytes
) -> None:
    admin.answer(json.dumps(ENTRY).encode())
    result = run(*words, "--socket", admin.path)
    assert (result.exit_code, result.stdout) == (0, LINE)
    head, _, rest = admin.asked[0].partition(b"\r\n\r\n")
    assert head.startswith(asked)
    assert rest == body


def test_a_backend_whose_worker_does_not_answer_is_told_with_its_bounds(admin: FakeAdmin) -> None:
    entry = {"state": "drained", "upstream_max": 8, "waiting_max": 5, "differs": {}, "drained_servers": []}
    admin.answer(json.dumps(entry).encode())
    assert run("drain", "web", "--socket", admin.path).stdout == (
        "drained: 0 of at most 8 connections, 0 of at most 5 waiting\n"
    )


def test_a_pause_is_waited_for_as_long_as_one_likes(
    admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 2.0:
            admin.answer(json.dumps(ENTRY | {"upstream_sockets": 0}).encode())

    monkeypatch.setattr("muxproxy.cli.commands.time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    admin.answer(json.dumps(ENTRY).encode())
    result = run("pause", "web", "--wait", "1s", "--socket", admin.path)
    assert (result.exit_code, result.stdout) == (8, LINE)
    result = run("pause", "web", "--wait", "1m", "--socket", admin.path)
    assert (result.exit_code, result.stdout) == (0, LINE.replace("3 of", "0 of"))
    assert admin.asked[-1].startswith(b"GET /backends/web ")
    assert now[0] < 3.0
    for bad in ("5", "1h30m"):
        assert run("pause", "web", "--wait", bad, "--socket", admin.path).exit_code == 2


@pytest.mark.parametrize(
    ("status", "problem", "code", "text"),
    [
        ("404 Not Found", {"detail": "there is no backend \x1b[2J"}, 7, "there is no backend ?[2J"),
        ("409 Conflict", {"detail": "the last server"}, 7, "the last server"),
        ("409 Conflict", {"detail": "taken", "cannot_listen": ["taken"]}, 3, "taken"),
        (
            "422 Unprocessable Content",
            {"detail": "wrong", "problems": [{"file": "f", "key": "k", "value": "0", "rule": "from 1"}]},
            7,
            "f: k = 0: from 1",
        ),
        (
            "422 Unprocessable Content",
            {"detail": "wrong", "problems": [{"file": "f", "key": "", "value": "", "rule": "too many"}]},
            7,
            "Error: f: too many\n",
        ),
        ("422 Unprocessable Content", {"detail": "wrong", "problems": [{"file": 5}]}, 4, "it cannot do this"),
        ("500 Internal Server Error", {"detail": "a bug"}, 4, "it cannot do this: it answered 500"),
        ("404 Not Found", [], 4, "it cannot do this"),
        ("200 OK", {}, 4, "it cannot do this"),
        ("200 OK", None, 4, "it cannot do this"),
    ],
)
def test_what_is_not_done_is_told_with_a_code_of_its_own(
    admin: FakeAdmin, status: str, problem: object, code: int, text: str
) -> None:
    admin.answer(json.dumps(problem).encode(), status)
    result = run("pause", "web", "--socket", admin.path)
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize(
    "word", ["max_connections", "timeout=5", "max_waiting=-1", "max_waiting=1e3", "max_waiting=²"]
)
def test_what_cannot_be_set_is_not_even_asked(admin: FakeAdmin, word: str) -> None:
    result = run("set", "web", word, "--socket", admin.path)
    assert (result.exit_code, admin.asked) == (2, [])
    assert "max_connections=N, max_waiting=N" in result.stderr


def test_with_nobody_there_it_has_the_code_for_that(tmp_path: Path) -> None:
    for words in (["pause", "web"], ["set", "web", "max_waiting=1"]):
        assert run(*words, "--socket", tmp_path / "none.sock").exit_code == 4


def complete(*words: str | Path) -> list[str]:
    """What a shell gets after Tab behind the last word."""
    line = " ".join(["muxproxy", *map(str, words)])
    code = "from muxproxy.cli.main import main; main()"
    variables = {"_MUXPROXY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    result = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.stderr == ""
    return [each.partition(",")[2] for each in result.stdout.split()]


def test_tab_completes_from_the_running_one(admin: FakeAdmin, tmp_path: Path) -> None:
    backends = {
        "web": {"servers": [{"address": "10.0.0.5:80"}], "drained_servers": ["10.0.0.6:80"]},
        "worker\x1b": {},
        "cache": {},
    }
    admin.answer(json.dumps({"backends": backends}).encode())
    (tmp_path / "muxproxy.toml").write_text(f'admin = "{admin.path}"\n')
    asks = ["--socket", admin.path]
    assert complete("drain", *asks, "w") == ["web"]
    assert complete("pause", "-c", tmp_path, "c") == ["cache"]
    assert complete("drain", *asks, "web", "--server", "10") == ["10.0.0.5:80", "10.0.0.6:80"]
    assert complete("set", *asks, "web", "max_c") == ["max_connections="]
    assert complete("pause", "--socket", tmp_path / "none", "w") == []
    assert complete("pa") == ["pause"]


def test_an_upgrade_tells_who_serves_now(admin: FakeAdmin) -> None:
    admin.answer(b'{"pid": 4711}')
    result = run("upgrade", "--socket", admin.path)
    assert (result.exit_code, result.output) == (0, "pid 4711 serves, its predecessor drains\n")
    assert admin.asked[0].startswith(b"POST /upgrade ")


def test_an_upgrade_that_fails_says_why(admin: FakeAdmin) -> None:
    admin.answer(b'{"detail": "the successor (pid 7) ended; its log says more"}', status="409 Conflict")
    result = run("upgrade", "--socket", admin.path)
    assert (result.exit_code, "the successor (pid 7) ended" in result.output) == (7, True)
