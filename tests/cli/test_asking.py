"""Where a running muxproxy is looked for, and how what is there may answer: of any command that asks one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from muxproxy.cli.asking import ask, asks_a_running_one
from tests.cli.conftest import FakeAdmin


@click.command()
@asks_a_running_one
@click.option("--body")
def shout(places: list[str], body: str | None) -> None:
    """A command: without a body it asks for a page, with one it wants something done."""
    if body is None:
        answer = ask(places, "/status")
    else:
        answer = ask(places, "/reload", method="POST", body=body.encode())
    click.echo(f"{answer.place} {answer.status} {answer.reason} {answer.body.decode()}")


def asked(*options: str | Path) -> Result:
    return CliRunner().invoke(shout, [*map(str, options)])


def test_an_answer_is_the_commands_business_whatever_its_status(admin: FakeAdmin) -> None:
    admin.answer(b"no", status="409 Conflict")
    result = asked("--socket", admin.path, "--body", "x=1")
    assert (result.exit_code, result.stdout) == (0, f"{admin.path} 409 Conflict no\n")
    assert admin.asked[0].startswith(b"POST /reload HTTP/1.1\r\nHost: localhost\r\n")
    assert admin.asked[0].endswith(b"\r\n\r\nx=1")


def test_the_configuration_says_where_to_ask(admin: FakeAdmin, tmp_path: Path) -> None:
    (tmp_path / "muxproxy.toml").write_text(f'admin = "{admin.path}"\n')
    assert asked("-c", tmp_path).exit_code == 0
    assert len(admin.asked) == 1


def test_without_a_word_in_the_configuration_the_users_own_place_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    server = FakeAdmin(tmp_path / "admin.sock")
    server.answer(b"{}")
    try:
        assert asked("-c", tmp_path).exit_code == 0
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
        assert asked("-c", tmp_path).exit_code == 4
    finally:
        server.close()
    assert server.asked == []


def test_with_nobody_there_it_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    result = asked("--socket", tmp_path / "admin.sock")
    assert result.exit_code == 4
    assert f"no running muxproxy ({tmp_path}/admin.sock: No such file or directory)" in result.stderr
    assert "muxproxy run" in result.stderr


def test_a_socket_that_a_killed_muxproxy_left_is_nobody_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "admin.sock"))
    result = asked("--socket", tmp_path / "admin.sock")
    assert result.exit_code == 4
    assert "Connection refused" in result.stderr


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"", "closed connection without response"),
        (b"SSH-2.0-x\r\n", "SSH-2.0-x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "its answer is cut short"),
    ],
)
def test_an_answer_that_is_none_is_told_in_one_line(admin: FakeAdmin, reply: bytes, says: str) -> None:
    admin.reply = reply
    result = asked("--socket", admin.path)
    assert result.exit_code == 4
    assert result.stderr.startswith(f"Error: cannot ask {admin.path}: ")
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_server_that_says_nothing_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muxproxy.cli.asking.TIMEOUT", 0.01)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "admin.sock"))
        silent.listen()
        result = asked("--socket", tmp_path / "admin.sock")
    assert result.exit_code == 4
    assert "no answer within 0.01s" in result.stderr


def test_a_broken_node_file_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "muxproxy.toml").write_text("admin = 5\n")
    result = asked("-c", tmp_path)
    assert result.exit_code == 1
    assert "admin = 5: a string in quotes" in result.stderr


def test_config_and_socket_exclude_each_other(tmp_path: Path) -> None:
    assert asked("-c", tmp_path, "--socket", tmp_path / os.devnull).exit_code == 2
