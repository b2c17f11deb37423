"""`-c`: what a command gets of it."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from muxproxy.cli.options import DEFAULT_PATH, config_option


@click.command()
@config_option
def show(path: Path) -> None:
    click.echo(repr(path))


@pytest.mark.parametrize("option", ["-c", "--config"])
def test_a_path_is_handed_on_whether_it_is_there_or_not(option: str) -> None:
    assert (
        CliRunner().invoke(show, [option, "/absent/orders.toml"]).stdout
        == "PosixPath('/absent/orders.toml')\n"
    )


def test_without_it_the_systems_directory_is_read_and_help_says_so() -> None:
    assert CliRunner().invoke(show, []).stdout == f"{DEFAULT_PATH!r}\n"
    assert f"[default: {DEFAULT_PATH}]" in " ".join(CliRunner().invoke(show, ["--help"]).stdout.split())
