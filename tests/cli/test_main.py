"""The group of commands: its help names them and the exit codes, and it starts without heavy imports."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

import muxproxy
from muxproxy.cli.exits import Exit
from muxproxy.cli.main import cli
from muxproxy.native import installed


def test_help_names_every_command_and_every_exit_code() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for word in ("run", "check", "status", "Exit codes:", "128+N"):
        assert word in result.output


def test_the_version_is_the_packages_and_says_which_build_is_installed() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.output == f"muxproxy {muxproxy.__version__} ({installed()})\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(cli, ["serve"]).exit_code == 2


def test_a_bug_is_not_mistaken_for_a_wrong_configuration() -> None:
    code = """
import muxproxy.cli.main as m
@m.cli.command()
def crash(): raise KeyError("a state that cannot be")
m.main()
"""
    result = subprocess.run(
        [sys.executable, "-c", code, "crash"], capture_output=True, text=True, check=False
    )
    assert result.returncode == Exit.BUG
    assert "KeyError: 'a state that cannot be'" in result.stderr


def test_commands_do_not_wait_for_imports_they_may_not_need() -> None:
    heavy = {"trio", "uvloop", "rich.console", "muxproxy.doctor.facts"}
    code = f"import sys, muxproxy.cli.main; print(*({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "\n"


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_files_are_no_fault_and_no_sockets_number(closed: str) -> None:
    """What would be printed is lost, and that is all."""
    code = """
import os, socket, sys
import muxproxy.cli.main as m
@m.cli.command()
def look():
    print("said", file=sys.stderr)
    with socket.socket() as sock: sys.exit(7 if sock.fileno() > 2 else 8)
m.main()
"""
    shell = f'"$0" -c "$1" look {closed}'
    assert subprocess.run(["sh", "-c", shell, sys.executable, code], check=False).returncode == 7
    shell = f'"$0" -I -m muxproxy run -c /nonexistent {closed}'
    assert subprocess.run(["sh", "-c", shell, sys.executable], check=False).returncode == Exit.CONFIG
