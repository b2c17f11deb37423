"""`status` against an admin server on a unix socket: what it shows, and what it says where there is none."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from muxproxy.cli.main import cli
from tests.cli.reports import REPORT


class FakeAdmin:
    """Answers every connection with `reply`, and remembers what it was asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reply = b""
        self.asked: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:  # closed
                return
            with client:
                self.asked.append(client.recv(65536))
                client.sendall(self.reply)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def answer(self, body: bytes, status: str = "200 OK") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.reply = head.encode() + body


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[FakeAdmin]:
    server = FakeAdmin(tmp_path / "admin.sock")
    server.answer(json.dumps(REPORT).encode())
    yield server
    server.close()


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
    assert json.loads(result.stdout) == REPORT


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


def test_the_configuration_says_where_to_ask(admin: FakeAdmin, tmp_path: Path) -> None:
    (tmp_path / "muxproxy.toml").write_text(f'admin = "{admin.path}"\n')
    assert status("-c", tmp_path).exit_code == 0
    assert len(admin.asked) == 1


def test_without_a_word_in_the_configuration_the_users_own_place_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    server = FakeAdmin(tmp_path / "admin.sock")
    server.answer(json.dumps(REPORT).encode())
    try:
        assert status("-c", tmp_path).exit_code == 0
    finally:
        server.close()
    assert len(server.asked) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_place_in_tmp_that_somebody_else_has_made_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "muxproxy-1000"))
    (tmp_path / "muxproxy-1000").mkdir()
    server = FakeAdmin(tmp_path / "muxproxy-1000" / "admin.sock")
    os.chown(tmp_path / "muxproxy-1000", 12345, 12345)
    try:
        assert status("-c", tmp_path).exit_code == 4
    finally:
        server.close()
    assert server.asked == []


def test_with_nobody_there_it_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    result = status("--socket", tmp_path / "admin.sock")
    assert result.exit_code == 4
    assert f"no running muxproxy ({tmp_path}/admin.sock: No such file or directory)" in result.stderr
    assert "muxproxy run" in result.stderr


def test_a_socket_that_a_killed_muxproxy_left_is_nobody_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "admin.sock"))
    result = status("--socket", tmp_path / "admin.sock")
    assert result.exit_code == 4
    assert "Connection refused" in result.stderr


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"", "closed connection without response"),
        (b"SSH-2.0-x\r\n", "SSH-2.0-x"),
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops", "it answered 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "what answers there is not muxproxy"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxx", "Expecting value"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "its answer is cut short"),
    ],
)
def test_an_answer_that_is_none_is_told_in_one_line(admin: FakeAdmin, reply: bytes, says: str) -> None:
    admin.reply = reply
    result = status("--socket", admin.path)
    assert result.exit_code == 4
    assert result.stderr.startswith(f"Error: cannot ask {admin.path}: ")
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_server_that_says_nothing_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muxproxy.cli.status.TIMEOUT", 0.01)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "admin.sock"))
        silent.listen()
        result = status("--socket", tmp_path / "admin.sock")
    assert result.exit_code == 4
    assert "no answer within 0.01s" in result.stderr


def test_a_broken_node_file_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "muxproxy.toml").write_text("admin = 5\n")
    result = status("-c", tmp_path)
    assert result.exit_code == 1
    assert "admin = 5: a string in quotes" in result.stderr


def test_config_and_socket_exclude_each_other(tmp_path: Path) -> None:
    assert status("-c", tmp_path, "--socket", tmp_path / os.devnull).exit_code == 2
